"""`boresight check`: what can be known before a run."""
