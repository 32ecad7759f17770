"""Reuse outputs of linear layers that sampling has computed in the forward of the next update."""
