"""Distinct rows by content, and a table of their log-probabilities, in about 60 bytes per row besides the
rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from boresight.data.rows import Row

KEY = np.dtype("V32")


def row_key(row: Row) -> bytes:
    """Return a digest of everything in a row that its log-probabilities depend on, which is a key for any one
    model."""
    digest = hashlib.sha256()
    for part in (row.prompt, *(a for c in row.completions for a in (c.ids, c.mask))):
        digest.update(len(part).to_bytes(4, "little"))
        digest.update(part.tobytes())
    return digest.digest()


class DistinctRows:
    """The distinct rows among `rows`, in the same order.

    `key_array` contains the `row_key` of each, `(n,)` of 32 bytes.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        joined = bytearray()
        for row in rows:
            joined += row_key(row)
        keys = np.frombuffer(joined, KEY)
        self._places = np.sort(np.unique(keys, return_index=True)[1])
        self._rows, self.key_array = rows, keys[self._places]

    def __len__(self) -> int:
        return len(self.key_array)

    def __iter__(self) -> Iterator[tuple[bytes, Row]]:
        return ((self.key(place), self[place]) for place in range(len(self)))

    def __getitem__(self, place: int) -> Row:
        return self._rows[int(self._places[place])]

    def key(self, place: int) -> bytes:
        """Return the key of the row at index `place`."""
        return bytes(self.key_array[place].tobytes())

    def lengths(self) -> np.ndarray:
        """Return the number of tokens of every row, int64 `(n,)`."""
        return np.fromiter((row.tokens for _, row in self), np.int64, len(self))

    def only(self, wanted: Callable[[bytes], bool]) -> DistinctRows:
        """Return the rows for whose key `wanted` returns True."""
        return self.at(np.flatnonzero([wanted(self.key(place)) for place in range(len(self))]))

    def at(self, places: np.ndarray) -> DistinctRows:
        """Return the rows at the indices `places`, in this order."""
        some = DistinctRows(())
        some._rows, some._places, some.key_array = self._rows, self._places[places], self.key_array[places]
        return some


class LogpTable(Mapping[bytes, Tensor]):
    """Log-probabilities `(k,)` of rows, in nats, float32, by `row_key`.

    Args:
        keys: keys of all rows that may be written, `(n,)` of 32 bytes.
    """

    def __init__(self, keys: np.ndarray) -> None:
        self._keys = np.sort(keys)
        self._widths = np.zeros(len(keys), dtype=np.int32)  # 0: not known
        self._sums = torch.zeros(len(keys), 0)

    def put(self, part: Mapping[bytes, Tensor]) -> None:
        """Write the log-probabilities of some rows, by key."""
        for key, sums in part.items():
            if (wider := len(sums) - self._sums.shape[1]) > 0:
                self._sums = torch.nn.functional.pad(self._sums, (0, wider))
            place = self._place(key)
            self._sums[place, : len(sums)] = sums
            self._widths[place] = len(sums)

    def __getitem__(self, key: bytes) -> Tensor:
        place = self._place(key)
        if not self._widths[place]:
            raise KeyError(key)
        return self._sums[place, : int(self._widths[place])]

    def __iter__(self) -> Iterator[bytes]:
        return (bytes(self._keys[place].tobytes()) for place in np.flatnonzero(self._widths))

    def __len__(self) -> int:
        return int(np.count_nonzero(self._widths))

    def _place(self, key: bytes) -> int:
        wanted = np.frombuffer(key, KEY)
        place = int(np.searchsorted(self._keys, wanted)[0]) if len(self._keys) else 0
        if place == len(self._keys) or self._keys[place] != wanted[0]:
            raise KeyError(key)
        return place
