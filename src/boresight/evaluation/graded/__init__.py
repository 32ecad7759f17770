"""Evaluation by a reward: completions of every prompt, their scores, and statistics over systems."""
