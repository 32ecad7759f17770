"""Held-out measurements at every evaluation besides the loss."""
