"""Evaluations by a reward and on tasks, from recipe to files, and what their results have in common."""
