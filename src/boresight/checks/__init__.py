"""Checks of a recipe, its data and its model before training."""
