"""Going on with a run that was cut short, as if nothing had happened.

Batches are pure functions of the step, so a checkpoint needs weights, optimiser, random state and
the step. The reference is computed anew from the start model, before the checkpoint is loaded.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from boresight.config.dotted import differences
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import read_jsonl, remove_leftovers, write_jsonl
from boresight.core.lock import RunLock
from boresight.training.checkpoints import checkpoint
from boresight.training.logging import reward_failures
from boresight.training.probes import generations

LONGEST_VALUES = 80
"""Characters of two differing values that an error still shows."""


def find_checkpoint(folder: Path, recipe: Recipe, lock: RunLock, *, resume: bool) -> Path | None:
    """The checkpoint that a run in `folder` goes on from; None where a new one begins.

    With `resume` a run must be there. Without, it goes on where one was cut short. The folder is locked
    before it is looked at.

    Raises:
        UserError: no run to resume, a finished one, one without a sound checkpoint, one made with another
            recipe, whose difference is named, one that another process is at, or something that is no run.
    """
    old = _recipe_there(folder)
    if old is None:
        _refuse_what_is_no_run(folder, resume)
        return None
    lock.acquire()
    if (folder / "evaluation.json").is_file():
        report = (
            "" if (folder / "report.html").is_file() else f" (`boresight report {folder}` writes its page)"
        )
        raise UserError(f"{folder}: this run is finished{report}; give another folder with --run.")
    found = checkpoint.latest_sound(folder)
    if found is None:  # the files below may then be missing or torn
        raise UserError(
            f"{folder}: the run there ended before its first checkpoint (train.save_every); delete the "
            "folder and start again, or give another one with --run."
        )
    _same(folder, "recipe", old, recipe.to_dict())
    return found


def refuse_other_data(folder: Path, facts: dict[str, Any]) -> None:
    """Raise a `UserError` that names the difference when the run in `folder` had other data."""
    old = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    _same(folder, "data", old, json.loads(json.dumps(facts)))


def _recipe_there(folder: Path) -> Any:
    """The recipe of the run in `folder`, whatever a kill has left of it; None where there is no run."""
    file = folder / "config.yaml"
    if not file.is_file():
        return None
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    # Evaluations and made data keep a recipe under this name too; theirs names no method.
    return None if raw and "method" not in raw else raw


def _refuse_what_is_no_run(folder: Path, resume: bool) -> None:
    """Raise a `UserError` unless a new run may begin in `folder`."""
    if resume:
        raise UserError(f"{folder}: there is no run to resume; leave --resume out to start one.")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder}: something that is no run is there; give another folder with --run.")
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):  # before anything is computed
        raise UserError(
            f"{folder}: {there} may not be written; make it writable, or give another folder with --run."
        )


def rewind(folder: Path, step: int) -> None:
    """Drop logged lines after `step`, which will be logged again, and half-written or damaged checkpoints."""
    for place in (folder, folder / "checkpoints"):
        remove_leftovers(place)
    for newer in checkpoint.newest_first(folder):
        if checkpoint.step_of(newer) > step:  # damaged, or the run would go on from it
            shutil.rmtree(newer)
    for path in (folder / "metrics.jsonl", folder / generations.FILE, folder / reward_failures.FILE):
        if path.is_file():
            write_jsonl(path, (line for line in read_jsonl(path) if line.get("step", math.inf) <= step))


def _same(folder: Path, what: str, old: Any, new: Any) -> None:
    differing = sorted(_told(key, *values) for key, values in differences(old, new).items())
    if differing:
        raise UserError(
            f"{folder}: cannot go on with the run there, the {what} differs in {', '.join(differing[:4])}; "
            "put it back, or start a new run with --run."
        )


def _told(key: str, old: Any, new: Any) -> str:
    """`optim.lr (0.01 there, 0.02 here)`; without the values where they are long."""
    values = f" ({_short(old)} there, {_short(new)} here)"
    return key + values if len(values) <= LONGEST_VALUES else key


def _short(value: Any) -> str:
    return "null" if value is None else str(value)
