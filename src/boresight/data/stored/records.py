"""Byte records in an unnamed file, which the system deletes when the process ends, even if it is killed."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from boresight.core.errors import UserError
from boresight.core.files import cache_folder


class UnnamedRecords:
    """Sequence of byte records in an unnamed file; records can be appended.

    The file is in the cache folder, or in the system's temporary folder if the cache cannot be written.

    Raises:
        UserError: the disk is full, or a record cannot be read.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._ends = array("q")
        self._flushed = True

    def append(self, record: bytes) -> None:
        """Append one record, which may be empty."""
        with _explained():
            if self._file is None:
                self._file = _unnamed_file()
            self._file.write(record)
        self._flushed = False
        self._ends.append((self._ends[-1] if self._ends else 0) + len(record))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> bytes:
        end, start = self._ends[index], self._ends[index - 1] if index else 0
        assert self._file is not None, "a record was written"
        with _explained():
            if not self._flushed:
                self._file.flush()
                self._flushed = True
            return os.pread(self._file.fileno(), end - start, start)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{cache_folder()}: the text of the data cannot be kept there ({error.strerror or error}); "
            "make room, or set XDG_CACHE_HOME to a folder on a larger disk."
        ) from error


def _unnamed_file() -> IO[bytes]:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError:  # the cache folder cannot be written
        return tempfile.TemporaryFile()
