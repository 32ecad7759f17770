"""Read what a learning-rate ramp chose for an arm with `optim.lr: auto`: its learning rate and its steps."""

from __future__ import annotations

from pathlib import Path

from boresight.config.recipe import Recipe
from boresight.runs.training_folder import TrainingFolder

LEARNING_RATE, STEPS = "learning_rate", "steps"
"""Keys of the chosen values among the numbers of a run."""


def chosen_recipe(recipe: Recipe, run_folder: Path) -> Recipe:
    """Return `recipe`; with `optim.lr: auto`, return the recipe in the run folder, if there is one.

    The recipe in the run folder has the learning rate that the ramp chose.
    """
    resolved = TrainingFolder(run_folder).recipe() if recipe.optim.lr == "auto" else None
    return recipe if resolved is None else Recipe.parse(resolved)


def chosen_numbers(recipe: Recipe, run_folder: Path, steps: int) -> dict[str, float]:
    """Return the learning rate that a ramp chose and the number of steps trained with it.

    The result is empty if the recipe sets the learning rate.
    """
    if recipe.optim.lr != "auto":
        return {}
    return {LEARNING_RATE: chosen_recipe(recipe, run_folder).optim.peak, STEPS: float(steps)}
