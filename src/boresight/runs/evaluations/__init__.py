"""Evaluations by a reward and on tasks, from recipe to files."""
