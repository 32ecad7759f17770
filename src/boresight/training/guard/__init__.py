"""The guard: stops a run that moves too far from its start model, and keeps the last model within the
bounds."""
