"""From text to scores: reward functions, verifiers and judges."""
