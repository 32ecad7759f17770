"""One process trains in a run folder at a time: a lock on its `config.yaml`, which ends with the process.

A second one would rewind the log of the first and delete its checkpoints.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from types import TracebackType
from typing import IO

from boresight.core.errors import UserError


class Alone:
    """Context: what `take` has locked is free again afterwards. Of a `claimed` folder nothing is locked."""

    def __init__(self, folder: Path, claimed: bool = False) -> None:
        self._folder, self._claimed = folder, claimed
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Lock the folder, which must hold a `config.yaml`; again does nothing.

        Raises:
            UserError: another process has it. A file system without locks is taken as it is.
        """
        if self._claimed or self._file is not None:
            return
        self._file = (self._folder / "config.yaml").open("a", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            raise UserError(
                f"{self._folder}: another process is training here; wait for it, or give another folder "
                "with --run."
            ) from None
        except OSError:  # this file system has no locks
            return

    def __enter__(self) -> Alone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
