"""The parts of `time_to_result.py`: TRL's side, what one run needed, the table."""
