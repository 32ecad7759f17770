"""Commands that read or write a run folder: train, check, explain, evaluate."""
