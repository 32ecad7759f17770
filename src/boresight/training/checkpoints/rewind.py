"""Bring a run folder back to a checkpoint, so that a resumed run continues as if it had not stopped.

Batches are pure functions of the step, so a checkpoint needs weights, optimizer, random state and the step.
The reference is computed again from the start model, before the checkpoint is loaded.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from boresight.core.files import read_jsonl, remove_leftovers, write_jsonl
from boresight.training.checkpoints import checkpoint
from boresight.training.logging import reward_failures
from boresight.training.probes import generations


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
