"""The parts of `gpu.py`: cases and their arithmetic, peaks of devices, a clock, the two sides."""
