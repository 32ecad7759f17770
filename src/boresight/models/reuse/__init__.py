"""Reuse the outputs of linear layers that were computed in sampling for the forward of the next update."""
