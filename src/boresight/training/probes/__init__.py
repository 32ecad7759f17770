"""Probe the policy at every evaluation: held-out measurements besides the loss."""
