"""Track the best checkpoint by a held-out metric (`train.keep_best`); it is not deleted with older ones.

`best_step` and `best` are stored in the progress of each checkpoint, so that a resumed run has them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError

LOWER = {"loss", "nll_per_token"}
"""Metrics for which lower is better."""


def found(recipe: Recipe, numbers: Mapping[str, float], done: Mapping[str, Any]) -> dict[str, Any]:
    """Return `best_step` and `best` if this evaluation is the best so far, else an empty dictionary.

    The earlier of two equal values is best. A step between two updates on one rollout is ignored, since it
    cannot be saved.
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
    """Return a log line with the path of the best checkpoint."""
    step = done["best_step"]
    return f"best held-out {recipe.train.keep_best} {done['best']:.4g}: checkpoints/step-{step}/model"


def refuse_unmeasured(recipe: Recipe, numbers: Mapping[str, float]) -> None:
    """Raise a `UserError` if this run does not measure the metric of `train.keep_best`."""
    name = recipe.train.keep_best
    if name is not None and name not in numbers:
        measured = ", ".join(sorted({*LOWER, "accuracy", "margin", "reward"} & set(numbers)))
        raise UserError(
            f"train.keep_best: this run measures no held-out {name}; it measures {measured or 'nothing'}."
        )
