"""Limits on decompression, since a few kilobytes of gzip or Parquet can expand to terabytes."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError

ALLOWED = 2**28
"""Decompressed size that is allowed for any file, in bytes."""
RATIO = 200
"""Maximum ratio of decompressed to compressed size, for files that expand beyond `ALLOWED`.

Text expands 3 to 20 times, repetitive records up to 100 times.
"""


class Expansion:
    """Counts the bytes of a decompressed file, and checks them against the limits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limit = max(ALLOWED, RATIO * path.stat().st_size)
        self._bytes = 0

    def add(self, count: int) -> None:
        """Add to the number of decompressed bytes.

        Raises:
            UserError: the number exceeds the limit.
        """
        self._bytes += count
        if self._bytes > self._limit:
            raise UserError(
                f"{self._path}: expands to more than {RATIO} times its size and {ALLOWED / 2**20:.0f} MiB, "
                "which no data set does; unpack it yourself if it is one."
            )

    def restart(self) -> None:
        """Reset the count, to read the file again from its beginning."""
        self._bytes = 0


class Decompressed(io.RawIOBase):
    """Binary stream of a gzip file, decompressed up to the limit."""

    def __init__(self, packed: gzip.GzipFile, path: Path) -> None:
        self._packed, self._expansion = packed, Expansion(path)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True; the stream can only seek to its beginning."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with the next decompressed bytes, and return their number."""
        block = self._packed.read(len(buffer))
        self._expansion.add(len(block))
        buffer[: len(block)] = block
        return len(block)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek to the beginning of the file, or to the current position."""
        if (offset, whence) == (0, io.SEEK_SET):
            self._expansion.restart()
        return self._packed.seek(offset, whence)

    def tell(self) -> int:
        """Return the position in the decompressed data, in bytes."""
        return self._packed.tell()

    def close(self) -> None:
        """Close the file."""
        self._packed.close()
        super().close()
