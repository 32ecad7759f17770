"""Forecast the margin and the loss of a run from its sum of learning rates."""
