"""Exclusive locks between processes. The system releases them when a process ends, however it ends."""

from __future__ import annotations

import fcntl
from pathlib import Path
from types import TracebackType
from typing import IO

from boresight.core.errors import UserError


class FileLock:
    """Exclusive lock on a file, which is created if missing and never changed.

    Args:
        optional: grant the lock on a file system that has no locks, where it is refused otherwise.
    """

    def __init__(self, path: Path, *, optional: bool = False) -> None:
        self._path, self._optional = path, optional
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; False if another process holds it. Again does nothing."""
        if self._file is not None:
            return True
        file = self._path.open("a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError) or not self._optional:
                file.close()
                return False
        self._file = file
        return True

    def release(self) -> None:
        """Let other processes take the lock; does nothing if it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None


class RunLock:
    """Exclusive lock on a run folder, released on exit. Does nothing if the caller has `claimed` the folder.

    A second process would rewind the log of the first and delete its checkpoints. The lock is on
    `config.yaml`; where the file system has no locks, nothing prevents that.
    """

    def __init__(self, folder: Path, claimed: bool = False) -> None:
        self._folder, self._claimed = folder, claimed
        self._lock = FileLock(folder / "config.yaml", optional=True)

    def acquire(self) -> None:
        """Lock the folder, which must exist; does nothing if this lock has it already.

        Raises:
            UserError: another process holds the lock.
        """
        if not self._claimed and not self._lock.acquire():
            raise UserError(
                f"{self._folder}: another process is training here; wait for it, or give another folder "
                "with --run."
            )

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
