"""Evaluate systems by a reward: read completions, score them, and compare systems by their scores."""
