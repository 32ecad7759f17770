"""Going on with a run that was cut short, as if nothing had happened.

Batches are pure functions of the step, so a checkpoint needs weights, optimiser, random state and
the step. The reference is computed anew from the start model, before the checkpoint is loaded.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from boresight.config import Recipe
from boresight.errors import UserError
from boresight.train import checkpoint


def find_checkpoint(folder: Path, recipe: Recipe, facts: dict[str, Any]) -> Path:
    """The checkpoint to go on from.

    Raises:
        UserError: no run there, a finished one, one without a sound checkpoint, or one made with
            another recipe or other data; the message names what differs.
    """
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: there is no run to resume; leave --resume out to start one.")
    if (folder / "evaluation.json").is_file():
        raise UserError(f"{folder}: this run is finished; give another folder with --run.")
    found = checkpoint.latest_sound(folder)
    if found is None:  # the files below may then be missing or torn
        raise UserError(
            f"{folder}: the run has no checkpoint (train.save_every); start again in another folder."
        )
    _same(
        folder,
        "recipe",
        yaml.safe_load((folder / "config.yaml").read_text()),
        yaml.safe_load(recipe.to_yaml()),
    )
    _same(folder, "data", json.loads((folder / "data.json").read_text()), json.loads(json.dumps(facts)))
    return found


def rewind(folder: Path, step: int) -> None:
    """Drop logged lines after `step`, which will be logged again, and half-written or damaged checkpoints."""
    for part in (folder / "checkpoints").glob(".*.part"):
        shutil.rmtree(part, ignore_errors=True)
    for newer in checkpoint.newest_first(folder):
        if checkpoint.step_of(newer) > step:  # damaged, or the run would go on from it
            shutil.rmtree(newer)
    for path in (folder / "metrics.jsonl", folder / "probes.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines if _step_of(line) <= step]
        part = path.with_suffix(".part")
        part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        part.replace(path)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # the torn last line of a killed run


def _same(folder: Path, what: str, old: Any, new: Any) -> None:
    differing = sorted(key for key, a, b in _walk(old, new) if a != b)
    if differing:
        raise UserError(
            f"{folder}: cannot resume, the {what} differs in {', '.join(differing[:4])}; "
            "put it back, or start a new run with --run."
        )


def _walk(old: Any, new: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [(prefix, old, new)]
    rows = []
    for key in {**old, **new}:
        rows += _walk(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else str(key))
    return rows
