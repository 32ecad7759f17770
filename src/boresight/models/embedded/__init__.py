"""Models that can be used without a network."""
