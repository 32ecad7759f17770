"""The margin and loss to expect from the sum of learning rates."""
