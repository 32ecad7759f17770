"""Checks of model, method, rewards and machine."""
