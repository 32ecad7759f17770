"""Run evaluations by a reward and on tasks, from the recipe to the files with the results."""
