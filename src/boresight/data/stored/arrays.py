"""One-dimensional arrays in .npy files, which are written in pieces and read by memory mapping."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from boresight.core.errors import UserError

BLOCK = 1 << 24
"""Number of bytes of a file that are hashed at a time."""


class ArrayWriter:
    """Writes an array of `dtype` to a new file in pieces; its length is written to the header at the end."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self._file, self._dtype, self._count = path.open("wb"), dtype, 0
        self._hashed = hashlib.sha256()
        self._write_header()

    def extend(self, values: np.ndarray) -> None:
        """Append values, `(n,)`."""
        data = np.ascontiguousarray(values, dtype=self._dtype).tobytes()
        self._file.write(data)
        self._hashed.update(data)
        self._count += len(values)

    def close(self) -> str:
        """Finish the file and return the SHA-256 of its values."""
        self._file.seek(0)
        self._write_header()
        self._file.close()
        return self._hashed.hexdigest()

    def _write_header(self) -> None:
        # numpy pads the header for the longest length, so that it can be overwritten in place.
        descr = npy.dtype_to_descr(self._dtype)
        npy.write_array_header_1_0(
            self._file, {"descr": descr, "fortran_order": False, "shape": (self._count,)}
        )


class MappedArray:
    """A read-only array in a file that is mapped into memory.

    `values` are `(n,)` of `dtype`. Pages that were read stay in memory until `release` is called, or until
    the system needs the memory.

    Raises:
        UserError: the file is missing, or does not contain an array of this type.
    """

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        try:
            with path.open("rb") as file:
                shape, found = _read_header(file)
                start = file.tell()
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.values = np.frombuffer(self._map, dtype, offset=start)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: is not a whole array ({error}).") from error
        if found != dtype or shape != self.values.shape:
            raise UserError(f"{path}: is not the array that was written.")

    def release(self) -> None:
        """Release the memory of the pages that were read; they are read again on access."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def sha256(self) -> str:
        """Return the SHA-256 of the values as hex digits."""
        hashed, raw = hashlib.sha256(), self.values.view(np.uint8)
        for start in range(0, len(raw), BLOCK):
            hashed.update(raw[start : start + BLOCK].data)
            self.release()
        return hashed.hexdigest()


class RaggedWriter:
    """Writes arrays of any length to `NAME.npy`, and the end of each to `NAME-ends.npy`."""

    def __init__(self, folder: Path, name: str, dtype: np.dtype) -> None:
        self._values, self._ends = (
            ArrayWriter(path, kind) for path, kind in _files(folder, name, dtype).items()
        )
        self._end = 0

    def append(self, values: np.ndarray) -> None:
        """Append one array, `(n,)`."""
        self._values.extend(values)
        self._end += len(values)
        self._ends.extend(np.array([self._end]))

    def close(self) -> list[str]:
        """Finish both files and return the SHA-256 of the values of each."""
        return [self._values.close(), self._ends.close()]


class Ragged:
    """Sequence of the arrays that a `RaggedWriter` wrote.

    Raises:
        UserError: as `MappedArray` does.
    """

    def __init__(self, folder: Path, name: str, dtype: np.dtype) -> None:
        self._values, self._ends = (
            MappedArray(path, kind) for path, kind in _files(folder, name, dtype).items()
        )

    def __len__(self) -> int:
        return len(self._ends.values)

    def __getitem__(self, index: int) -> np.ndarray:
        ends = self._ends.values
        start = ends[index - 1] if index else 0
        return self._values.values[start : ends[index]].copy()

    def release(self) -> None:
        """Release the memory of the pages that were read."""
        self._values.release()
        self._ends.release()

    def sha256(self) -> list[str]:
        """Return the SHA-256 of the values of both files, as `RaggedWriter.close` does."""
        return [self._values.sha256(), self._ends.sha256()]


def _files(folder: Path, name: str, dtype: np.dtype) -> dict[Path, np.dtype]:
    """Return the files of a ragged array and their types: values, then ends."""
    return {folder / f"{name}.npy": dtype, folder / f"{name}-ends.npy": np.dtype(np.int64)}


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape and the type in the header of a .npy file.

    Raises:
        ValueError: the file was not written by `ArrayWriter`.
    """
    if npy.read_magic(file) != (1, 0):
        raise ValueError("of another version")
    shape, _, dtype = npy.read_array_header_1_0(file)
    return shape, dtype
