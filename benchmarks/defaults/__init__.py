"""The TRL side and the scorer of `benchmarks/trl_defaults.py`."""
