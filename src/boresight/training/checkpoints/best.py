"""The best checkpoint by a held-out number, `train.keep_best`, which stays when older ones go.

`best_step` and `best` travel with the progress of a checkpoint, so that a resumed run has them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError

LOWER = {"loss", "nll_per_token"}
"""Numbers of which less is better."""


def found(recipe: Recipe, numbers: Mapping[str, float], done: Mapping[str, Any]) -> dict[str, Any]:
    """`best_step` and `best` when this evaluation is the best so far, else nothing.

    A tie goes to the earlier step. A step between two updates on one rollout cannot be saved, so it does
    not count.
    """
    name, step = recipe.train.keep_best, int(done["step"])
    if name is None or step % recipe.rollout.updates:
        return {}
    sign = -1 if name in LOWER else 1
    value, known = numbers[name], done.get("best")
    if math.isnan(value) or (known is not None and sign * value <= sign * known):
        return {}
    return {"best_step": step, "best": value}


def best_checkpoint_line(recipe: Recipe, done: Mapping[str, Any]) -> str:
    """Path of the best checkpoint, as a log line."""
    step = done["best_step"]
    return f"best held-out {recipe.train.keep_best} {done['best']:.4g}: checkpoints/step-{step}/model"


def refuse_unmeasured(recipe: Recipe, numbers: Mapping[str, float]) -> None:
    """Raise a `UserError` when this run does not measure what `train.keep_best` names."""
    name = recipe.train.keep_best
    if name is not None and name not in numbers:
        measured = ", ".join(sorted({*LOWER, "accuracy", "margin", "reward"} & set(numbers)))
        raise UserError(
            f"train.keep_best: this run measures no held-out {name}; it measures {measured or 'nothing'}."
        )
