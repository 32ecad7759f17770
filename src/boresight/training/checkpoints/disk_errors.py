"""Convert "disk full" and similar errors into a `UserError` that names the last complete checkpoint and how
to resume."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from boresight.core.errors import UserError, system_error_number
from boresight.training.checkpoints import trained
from boresight.training.checkpoints.checkpoint import latest_sound
from boresight.training.checkpoints.resume_command import resume_command

REASONS = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the disk quota is exceeded",
    errno.EFBIG: "a file would become larger than this system allows",
    errno.ENOTDIR: "a part of its path is a file",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
}


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """Context manager that converts failures to write into a `UserError`.

    Other exceptions are not changed.
    """
    try:
        yield
    except Exception as error:
        where = getattr(error, "filename", None) or folder
        if _was_deleted(folder, error):
            raise UserError(
                f"{folder}: this folder was deleted or moved during the run, so it stops; do not change "
                "the folder of a run, and start the command again."
            ) from error
        number = system_error_number(error)
        reason = REASONS.get(number)
        if reason is None:
            raise
        remedy = "make room" if number in FULL else "make it writable"
        raise UserError(f"{where}: {reason}; {remedy} {_what_next(folder)}") from error


def _was_deleted(folder: Path, error: Exception) -> bool:
    """Return whether a write failed because the run folder no longer exists."""
    inside = isinstance(error, FileNotFoundError) and Path(error.filename or "").is_relative_to(folder)
    return inside and not folder.exists()


def _what_next(folder: Path) -> str:
    if trained.is_trained(folder):
        return f"and resume with `{resume_command(folder)}`: {trained.model_folder(folder)} is complete."
    sound = latest_sound(folder)
    if sound is None:
        return "or give another folder with --run, and start again: there is no checkpoint yet."
    return f"and resume with `{resume_command(folder)}`: {sound} is complete."
