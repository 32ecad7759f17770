"""Save and resume a run: weights, optimizer and random state."""
