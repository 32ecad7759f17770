"""Estimate the memory of a training run from shapes: weights, gradients, moments, activations and the
head."""
