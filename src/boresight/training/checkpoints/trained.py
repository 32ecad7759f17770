"""Write and read the files of a run after training: `model/`, and `end.json` with its last held-out numbers.

    write_numbers(run, by_row, step)        end.json, before the model: a run with a model has its numbers
    write_hashes(run, model_files(run))     end.json again, with the hashes of files written since

`model/` is renamed to this name when it is complete, so its existence marks a run as trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.files import read_state, remove_folder, write_state
from boresight.stats.paired import ByRow
from boresight.training.checkpoints.checkpoint import sha256_of


def model_folder(run: Path) -> Path:
    """Return the folder of the trained model of a run."""
    return run / "model"


def end_file(run: Path) -> Path:
    """Return the path of the file with the held-out numbers of the trained model, by row."""
    return run / "end.json"


def is_trained(run: Path) -> bool:
    """Return whether the training of a run has ended."""
    return any(model_folder(run).glob("*.safetensors"))


def write_numbers(run: Path, numbers: ByRow, step: int) -> None:
    """Write the held-out numbers of the trained model, which is that of `step`, to `end.json`."""
    write_state(end_file(run), {"numbers": numbers, "step": step})


def step_of_model(run: Path) -> int | None:
    """Return the number of steps of the trained model; None if an earlier version did not record it."""
    return read_end(run).get("step")


def take_back(run: Path) -> None:
    """Delete the trained model and its numbers, so that training resumes from a checkpoint."""
    if model_folder(run).exists():
        remove_folder(model_folder(run))
    end_file(run).unlink(missing_ok=True)


def model_files(run: Path) -> list[Path]:
    """Return the paths of the trained weights, config and tokenizer."""
    return sorted(file for file in model_folder(run).rglob("*") if file.is_file())


def has_hashes(run: Path) -> bool:
    """Return whether the hashes of the trained model are recorded.

    They are not if the run was killed before writing them.
    """
    known = read_end(run).get("sha256", {})
    return any((run / name).is_relative_to(model_folder(run)) for name in known)


def write_hashes(run: Path, files: Sequence[Path]) -> None:
    """Add the hashes of `files`, files of the run, to `end.json`."""
    end = read_end(run)
    hashes = {file.relative_to(run).as_posix(): sha256_of(file) for file in files}
    write_state(end_file(run), {**end, "sha256": {**end.get("sha256", {}), **hashes}})


def is_unchanged(run: Path, file: Path) -> bool:
    """Return whether a file of the run still has its recorded hash."""
    known = read_end(run).get("sha256", {}).get(file.relative_to(run).as_posix())
    return file.is_file() and sha256_of(file) == known


def read_end(run: Path) -> dict[str, Any]:
    """Return the content of `end.json`: `numbers`, `step`, and with a model `sha256`; empty without a file.

    Raises:
        UserError: the file is incomplete or was edited.
    """
    if not end_file(run).is_file():
        return {}
    return read_state(end_file(run), "delete this file, and the trained model is measured again")


def refuse_changed_model(run: Path) -> None:
    """Raise a `UserError` if a file of the trained model with a recorded hash was changed after training."""
    for name in read_end(run).get("sha256", {}):
        file = run / name
        if file.is_relative_to(model_folder(run)) and not is_unchanged(run, file):
            raise UserError(f"{file}: not the file that training wrote; put that file back.")
