"""Evaluation by a reward: completions of every prompt, their scores, and what those say of systems."""
