"""Statistics: intervals, tests and verdicts."""
