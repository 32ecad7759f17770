"""Compute interval, size and required disk space of checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

from boresight.config.recipe import TrainSection
from boresight.core.errors import UserError
from boresight.core.wording import format_size, plural
from boresight.models.lora import has_adapters
from boresight.models.policy import Policy
from boresight.training.checkpoints.timer import SECONDS, TIMES_ITS_COST

FLOAT = 4


def model_gb(policy: Policy) -> float:
    """Return the size of a saved model in GB: all weights, or only those of its adapters if it has any."""
    saved = (p for p in policy.parameters() if p.requires_grad or not has_adapters(policy))
    return FLOAT * sum(p.numel() for p in saved) / 1e9


def checkpoint_gb(policy: Policy) -> float:
    """Return the size of a checkpoint in GB: a model and Adam's moments."""
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    return model_gb(policy) + FLOAT * 2 * trained / 1e9


def checkpoints_in_words(train: TrainSection, policy: Policy) -> str:
    """Return text such as `checkpoints: every 20 steps; the newest 2 are kept, 1.6 GB each`."""
    pause = f"{SECONDS / 60:.0f} minutes, or {TIMES_ITS_COST:.0f} times what one takes if that is longer"
    often = plural(train.save_every, "step") if train.save_every else pause
    kept = "one is" if train.keep == 1 else f"{train.keep} are"
    guarded = f"; the last model within train.guard, {format_size(model_gb(policy))}" if train.guard else ""
    size = format_size(checkpoint_gb(policy))
    return f"checkpoints: every {often}; the newest {kept} kept, {size} each{guarded}"


def refuse_full_disk(run: Path, train: TrainSection, policy: Policy) -> None:
    """Raise a `UserError` if the disk of a run folder cannot hold the run's checkpoints.

    Older checkpoints are deleted only after a new one has been written. The trained model is at most as large
    as a checkpoint. The guard stores two models while it replaces one.
    """
    needed = checkpoint_gb(policy) * (train.keep + 1) + (2 * model_gb(policy) if train.guard else 0)
    place = next(folder for folder in (run.absolute(), *run.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free / 1e9
    if needed > free:
        raise UserError(
            f"{place}: {format_size(needed)} are needed for checkpoints and {format_size(free)} are free; "
            "make room, give a folder on another disk with --run, or keep fewer (train.keep)."
        )
