"""Save and resume a run: weights, optimizer state and random state."""
