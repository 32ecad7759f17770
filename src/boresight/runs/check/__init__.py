"""`boresight check`: the preflight checks of a recipe, and probes of a run."""
