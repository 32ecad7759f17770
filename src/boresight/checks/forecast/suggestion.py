"""Find the settings of a run that reach a given sum of learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from boresight.config.recipe import Recipe
from boresight.methods.published import LADDERS
from boresight.training.forward import kind_of
from boresight.training.optimizer.learning_rate import learning_rate_sum

MARGIN_OF_LADDER = 2.0
"""Maximum factor by which a suggested learning rate may lie outside the range of the published ones."""
FEWEST_STEPS = 20
"""Minimum number of steps of a suggested run; below it the learning rate is lowered instead."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Settings of a run whose learning rates sum to a wanted value.

    `length` is the setting that changes the number of steps; None if the recipe's length is kept.
    """

    lr: float
    length: str | None

    @property
    def settings(self) -> list[str]:
        """The settings as arguments of the command line, such as `optim.lr=9.4e-05`."""
        return [f"optim.lr={self.lr:.2g}", *([self.length] if self.length else [])]


def suggest(recipe: Recipe, steps: int, budget: float, rows: int | None = None) -> Suggestion:
    """Return a learning rate, and if necessary a run length, such that the learning rates sum to `budget`.

    The recipe's number of steps is kept if the resulting learning rate is within the factor
    `MARGIN_OF_LADDER` of the published ones. Otherwise the rate is limited to that range and the length is
    changed.

    Args:
        steps: number of optimizer steps of the recipe.
        budget: wanted sum of learning rates.
        rows: number of training rows, with which epochs are exact even if their last batch is short.
    """
    ladder = LADDERS[kind_of(recipe).data, recipe.model.lora is not None]
    lowest, highest = ladder.lrs[0] / MARGIN_OF_LADDER, ladder.lrs[-1] * MARGIN_OF_LADDER
    per_rate = learning_rate_sum(steps, recipe.optim.model_copy(update={"lr": 1.0}))
    rate = budget / per_rate
    if lowest <= rate <= highest or (rate < lowest and steps <= FEWEST_STEPS):
        return Suggestion(_rounded_down(rate), None)
    rate = min(highest, max(lowest, rate))
    wanted = max(FEWEST_STEPS, round(steps * budget / (rate * per_rate)))
    rate = min(rate, budget / per_rate * steps / wanted)
    if recipe.train.steps is None:
        epochs = wanted * recipe.train.batch / rows if rows else (recipe.train.epochs or 1.0) * wanted / steps
        return Suggestion(_rounded_down(rate), f"train.epochs={epochs:.2g}")
    return Suggestion(_rounded_down(rate), f"train.steps={math.ceil(wanted / recipe.rollout.updates)}")


def _rounded_down(value: float) -> float:
    """Round a positive value down to two significant digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / unit + 1e-9) * unit:.2g}")
