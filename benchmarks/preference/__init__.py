"""The parts of `preference_step.py`: the rows, the two sides, the arithmetic."""
