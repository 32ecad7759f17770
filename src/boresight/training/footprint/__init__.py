"""Memory of a training run from shapes alone: weights, gradients, moments, activations and the head."""
