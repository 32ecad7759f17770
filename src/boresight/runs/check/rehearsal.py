"""Rehearse the first step of a run on a few short rows, to find errors before `boresight train` does.

The gradient is computed, and no weight is changed.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from boresight.config.recipe import Recipe
from boresight.core.console import Terminal
from boresight.data.prepare import DatasetCache, prepare_few
from boresight.models.kernels.allocator import releasing_memory
from boresight.models.load import device_called
from boresight.models.source import weights_at_hand
from boresight.runs.loading import load_run
from boresight.runs.outcome import answer
from boresight.training.loop import evaluate_now, first_gradient
from boresight.training.memory import FLOAT, available_gb

ROWS = 4
"""Number of rows that are loaded of each split, training and held-out."""
ANSWER_TOKENS = 8
"""Maximum length of a sampled answer, in tokens; a short one is enough to test whether sampling works."""
COPIES = 4
"""Memory that is required, in float32 copies of the weights: policy, gradients, a frozen copy, and one for
activations."""


def why_not(recipe: Recipe, parameters: int | None) -> str | None:
    """Return the reason why the first step cannot be rehearsed on this machine; None if it can."""
    if not weights_at_hand(recipe.model.name):
        return "the weights are not on this machine yet"
    needed = (parameters or 0) * FLOAT * COPIES / 1e9
    free = available_gb(device_called(recipe.model.device))
    if needed > free:
        return f"it would take an estimated {needed:.0f} GB of memory, and {free:.0f} GB are free"
    return None


@releasing_memory()
def rehearse(recipe: Recipe, datasets: DatasetCache) -> None:
    """Load what training loads, answer and measure a few held-out rows, and compute one gradient.

    Raises:
        UserError: what `boresight train` would raise before its first step is done.
    """
    console, small = Terminal(quiet=True), in_small(recipe)
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_run(small, datasets, Path(folder), console, preparing=partial(prepare_few, count=ROWS))
        answer(loaded.task, loaded.prompts, console)
        evaluate_now(loaded.task, 0)
        first_gradient(loaded.task)


def in_small(recipe: Recipe) -> Recipe:
    """Return the recipe with fewer rows per step, and with fewer and shorter samples.

    All other settings are unchanged.
    """
    rollout = {"max_new_tokens": min(ANSWER_TOKENS, recipe.rollout.max_new_tokens)}
    asked = {
        "samples": min(1, recipe.evaluate.samples),
        "rewarded": min(1, recipe.evaluate.rewarded),
        "kl_rows": min(1, recipe.evaluate.kl_rows),
        "max_new_tokens": min(ANSWER_TOKENS, recipe.evaluate.max_new_tokens),
    }
    return recipe.model_copy(
        update={
            "train": recipe.train.model_copy(update={"batch": min(ROWS, recipe.train.batch)}),
            "rollout": recipe.rollout.model_copy(update=rollout),
            "evaluate": recipe.evaluate.model_copy(update=asked),
            "check": recipe.check.model_copy(update={"probes": min(1, recipe.check.probes)}),
        }
    )
