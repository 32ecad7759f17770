"""The recipe of an arm with `optim.lr: auto`, once a learning-rate ramp has chosen its rate and length."""

from __future__ import annotations

from pathlib import Path

from boresight.config.recipe import Recipe
from boresight.runs.training_folder import TrainingFolder

LEARNING_RATE, STEPS = "learning_rate", "steps"
"""Names of the chosen values among an arm's numbers."""


def chosen_recipe(recipe: Recipe, run_folder: Path) -> Recipe:
    """`recipe`, or what its run made of it where a ramp has chosen the learning rate."""
    resolved = TrainingFolder(run_folder).recipe() if recipe.optim.lr == "auto" else None
    return recipe if resolved is None else Recipe.parse(resolved)


def chosen_numbers(recipe: Recipe, run_folder: Path, steps: int) -> dict[str, float]:
    """The rate that a ramp chose, and the number of steps trained with it; empty for a rate of the recipe."""
    if recipe.optim.lr != "auto":
        return {}
    return {LEARNING_RATE: chosen_recipe(recipe, run_folder).optim.peak, STEPS: float(steps)}
