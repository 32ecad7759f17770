"""Store the last model within the bounds in the run folder until the run ends.

    checkpoints/within-bounds-12/model/          in the format of the trained model
    checkpoints/within-bounds-12/numbers.json    its held-out numbers, by row

There is no optimizer state: a run resumes from checkpoints, not from these folders.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from boresight.core.files import atomic_folder, read_state, remove_folder, write_state
from boresight.stats.paired import ByRow
from boresight.training.checkpoints import trained
from boresight.training.distributed import collectives

PREFIX = "within-bounds-"


def kept_models(run: Path) -> list[Path]:
    """Return the folders of all stored models, newest first."""
    found = [p for p in (run / "checkpoints").glob(f"{PREFIX}*") if p.name.removeprefix(PREFIX).isdigit()]
    return sorted(found, key=step_of_kept, reverse=True)


def step_of_kept(folder: Path) -> int:
    """Return the number of steps after which a model was stored."""
    return int(folder.name.removeprefix(PREFIX))


def model_in_words(step: int | None) -> str:
    """Return `the model of step 3`, or `the start model` for step 0 and for None."""
    return f"the model of step {step:,}" if step else "the start model"


def keep_model(run: Path, step: int, numbers: ByRow, save_policy: Callable[[Path], None]) -> None:
    """Store the model of `step` with its numbers, then delete older ones; all processes must call it.

    Raises:
        OSError: the disk is full, or the run folder was deleted.
    """
    place = run / "checkpoints" / f"{PREFIX}{step}"
    if not collectives.is_first():
        save_policy(place / "model")  # takes part in gathering the weights, and writes nothing
        return
    place.parent.mkdir(exist_ok=True)
    with atomic_folder(place, durable=True, parents=False) as part:
        write_state(part / "numbers.json", {"numbers": numbers})
        save_policy(part / "model")
    for other in kept_models(run):
        if other != place:
            remove_folder(other)


def end_with(run: Path, kept: Path) -> None:
    """Make a stored model the trained model of the run."""
    numbers = read_state(kept / "numbers.json", types={"numbers": dict})["numbers"]
    trained.write_numbers(run, numbers, step_of_kept(kept))
    with atomic_folder(trained.model_folder(run), durable=True, parents=False) as part:
        shutil.copytree(kept / "model", part, dirs_exist_ok=True)
    trained.write_hashes(run, trained.model_files(run))


def drop_kept(run: Path) -> None:
    """Delete all stored models."""
    for folder in kept_models(run):
        remove_folder(folder)
