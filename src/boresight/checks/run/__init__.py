"""Check the model, the method, the rewards and the machine of a run."""
