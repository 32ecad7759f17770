"""HTTP servers on loopback, and the ways to serve a run's model."""
