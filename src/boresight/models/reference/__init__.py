"""Log-probabilities of the frozen reference model, computed or read from a cache."""
