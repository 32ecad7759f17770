"""Load models, compute log-probabilities, and sample."""
