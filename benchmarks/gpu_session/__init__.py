"""Sections of `scripts/gpu_session.sh` and `gpu_runs.sh`: what is measured in minutes on a lent GPU."""
