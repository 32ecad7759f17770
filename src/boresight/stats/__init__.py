"""From numbers to intervals, tests and verdicts."""
