"""Exclusive locks between processes. The system releases them when a process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from boresight.core.errors import UserError


class FileLock:
    """Exclusive lock on a file, which is created if missing and never changed.

    Args:
        optional: on a file system without locks, treat the lock as acquired instead of raising an error.
    """

    def __init__(self, path: Path, *, optional: bool = False) -> None:
        self._path, self._optional = path, optional
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; return False if another process or another `FileLock` holds it.

        Returns True at once if this object holds the lock already.

        Raises:
            UserError: the file system has no locks, and the lock is not optional.
        """
        if self._file is not None:
            return True
        file = self._path.open("a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError as error:
            if not self._optional:
                file.close()
                raise UserError(
                    f"{self._path}: the file system cannot lock it ({error.strerror}); use a folder on "
                    "another one, such as a local disk."
                ) from None
        self._file = file
        return True

    @property
    def intact(self) -> bool:
        """Whether the path still refers to the locked file, which was not replaced; True if nothing is
        locked."""
        if self._file is None:
            return True
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let other processes take the lock; does nothing if it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None
