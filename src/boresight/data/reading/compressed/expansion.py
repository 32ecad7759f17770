"""Limits for compressed files: a few kilobytes of gzip or Parquet can stand for terabytes of rows."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError

ALLOWED = 2**28
"""Bytes to which any file may be decompressed."""
RATIO = 200
"""Largest ratio of decompressed to compressed size, for larger files. Text expands 3 to 20 times,
repetitive records up to 100."""


class Expansion:
    """Counts the bytes that a compressed file expands to, against the limits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limit = max(ALLOWED, RATIO * path.stat().st_size)
        self._bytes = 0

    def add(self, count: int) -> None:
        """Count more bytes. Raises `UserError` when they are more than any data would expand to."""
        self._bytes += count
        if self._bytes > self._limit:
            raise UserError(
                f"{self._path}: expands to more than {RATIO} times its size and {ALLOWED / 2**20:.0f} MiB, "
                "which no data set does; unpack it yourself if it is one."
            )

    def restart(self) -> None:
        """Count from the beginning of the file again."""
        self._bytes = 0


class Decompressed(io.RawIOBase):
    """Reads a gzip file, decompressed, up to the limit."""

    def __init__(self, packed: gzip.GzipFile, path: Path) -> None:
        self._packed, self._expansion = packed, Expansion(path)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always; only to the beginning."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with the next bytes."""
        block = self._packed.read(len(buffer))
        self._expansion.add(len(block))
        buffer[: len(block)] = block
        return len(block)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go back to the beginning, or stay."""
        if (offset, whence) == (0, io.SEEK_SET):
            self._expansion.restart()
        return self._packed.seek(offset, whence)

    def tell(self) -> int:
        """Position in the decompressed file, bytes."""
        return self._packed.tell()

    def close(self) -> None:
        """Close the file."""
        self._packed.close()
        super().close()
