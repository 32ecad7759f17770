"""Rewind a run folder to a checkpoint, so that a resumed run equals an uninterrupted one.

Batches are pure functions of the step, so a checkpoint needs only weights, optimizer state, random state and
the step. The reference is recomputed from the start model before the checkpoint is loaded. A checkpoint also
contains the size and the hash of every log at that time; lines written later are removed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.files import (
    flush_to_disk,
    read_jsonl,
    read_state,
    remove_folder,
    remove_leftovers,
    write_jsonl,
    write_point,
)
from boresight.findings import monitor
from boresight.training.checkpoints import checkpoint
from boresight.training.logging import reward_failures
from boresight.training.probes import generations

METRICS = "metrics.jsonl"
LOGS = (METRICS, monitor.FILE, generations.FILE, reward_failures.FILE)
"""Names of the files to which a run appends lines."""


def logs_now(folder: Path) -> dict[str, dict[str, Any]]:
    """Flush every log to the disk, and return size in bytes and SHA-256 of each, by name."""
    found = {}
    for path in (folder / name for name in LOGS):
        if path.is_file():
            flush_to_disk(path)
            content = path.read_bytes()
            found[path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return found


def rewind(folder: Path, saved: Path) -> None:
    """Remove log lines after the checkpoint `saved`, newer checkpoints, and temporary files.

    Raises:
        UserError: a log is missing, or a part before the checkpoint was changed; nothing is removed then.
    """
    refuse_changed_logs(folder, saved)
    _rewind_to(folder, _logs_at(saved), checkpoint.step_of(saved))


def refuse_changed_logs(folder: Path, saved: Path) -> None:
    """Raise a `UserError` if a log is missing or differs from what it was at the checkpoint `saved`."""
    _refuse_changed(folder, _logs_at(saved), f"begin another run with model.name={saved / 'model'}")


def _logs_at(saved: Path) -> Mapping[str, Mapping[str, Any]] | None:
    """Size and hash of every log at a checkpoint; None for a checkpoint that holds none."""
    return read_state(saved / "state.json").get("logs")


def rewind_to_start(folder: Path, start: Path | None) -> None:
    """Remove all log lines after those of the measurement of the start model, which the file `start` records.

    If there is no such file, all log lines are removed.

    Raises:
        UserError: for the reasons of `rewind`.
    """
    logs = read_state(start).get("logs") if start else {}
    _refuse_changed(folder, logs, "give another folder with --run")
    _rewind_to(folder, logs, 0)


def _rewind_to(folder: Path, logs: Mapping[str, Mapping[str, Any]] | None, step: int) -> None:
    """Go back to step `step`, when the logs were as in `logs`; None is not known."""
    for place in (folder, folder / "checkpoints"):
        remove_leftovers(place)
    for newer in checkpoint.newest_first(folder):
        if checkpoint.step_of(newer) > step:  # damaged, or the run would resume from it
            remove_folder(newer)
    for name in LOGS:
        if logs is None:
            _drop_later_lines(folder / name, step)
        else:
            _cut(folder / name, logs.get(name, {}).get("bytes", 0))


def _refuse_changed(folder: Path, logs: Mapping[str, Mapping[str, Any]] | None, otherwise: str) -> None:
    for name, known in (logs or {}).items():
        path = folder / name
        content = path.read_bytes()[: known["bytes"]] if path.is_file() else None
        if content is None or hashlib.sha256(content).hexdigest() != known["sha256"]:
            what = "is missing" if content is None else "was changed after it was written"
            raise UserError(f"{path}: this log {what}; restore it, or {otherwise}.")


def _cut(path: Path, size: int) -> None:
    """Shorten a log to `size` bytes, its size when the checkpoint was written."""
    if path.is_file() and path.stat().st_size > size:
        write_point("start", path)
        os.truncate(path, size)
        write_point("done", path)


def _drop_later_lines(path: Path, step: int) -> None:
    """Remove log lines of later steps, for checkpoints of earlier versions that recorded no sizes."""
    if path.is_file():
        write_jsonl(path, (line for line in read_jsonl(path) if not _is_later(line, step)))


def _is_later(line: Mapping[str, Any], step: int) -> bool:
    """Return whether a log line belongs to a step after `step`.

    Findings of the preflight check have no step.
    """
    return isinstance(line.get("step"), int) and line["step"] > step
