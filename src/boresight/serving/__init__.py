"""HTTP servers on loopback, and commands that serve a run's model."""
