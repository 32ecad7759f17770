"""Stop a run that moves too far from its start model, and store the last model within the bounds
(`train.guard`)."""
