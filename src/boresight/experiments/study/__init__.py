"""A whole comparison in one command: many runs, the statistics between them, and one report."""
