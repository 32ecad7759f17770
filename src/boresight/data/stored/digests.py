"""Compare texts by digests of eight bytes, so that the texts need not be kept in memory.

Among a hundred million texts, two different texts have the same digest with a probability of 0.0003.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TypeVar

import numpy as np

from boresight.core.schema import Demonstration, Example, Labeled, Preference, Prompt
from boresight.data.stored.view import View

AnyExample = TypeVar("AnyExample", Prompt, Demonstration, Preference, Labeled, Example)


def digests(texts: Iterable[str]) -> np.ndarray:
    """Return a digest of each text, uint64 `(texts,)`."""
    joined = bytearray()
    for text in texts:
        joined += _digest(text)
    return np.frombuffer(joined, np.uint64)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class DigestSet:
    """A set of texts that stores only their digests."""

    def __init__(self, texts: Iterable[str] | np.ndarray) -> None:
        found = texts if isinstance(texts, np.ndarray) else digests(texts)
        self._sorted = np.unique(found)

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, text: str) -> bool:
        wanted = np.frombuffer(_digest(text), np.uint64)[0]
        place = int(np.searchsorted(self._sorted, wanted))
        return place < len(self._sorted) and bool(self._sorted[place] == wanted)


def group_numbers(texts: Iterable[str]) -> np.ndarray:
    """Return the number of each text, int64 `(texts,)`; equal texts have equal numbers.

    Numbers are assigned in the order in which the texts first occur.
    """
    _, first, found = np.unique(digests(texts), return_index=True, return_inverse=True)
    numbers = np.empty(len(first), dtype=np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))
    return numbers[found]


def distinct_ids(examples: Sequence[AnyExample]) -> Sequence[AnyExample]:
    """Return the examples with distinct ids: the second example with the id `x` gets the id `x#2`."""
    found = digests(example.id for example in examples)
    ids, counts = np.unique(found, return_counts=True)
    seen: Counter[str] = Counter()
    renamed: dict[int, str] = {}
    for place in map(int, np.flatnonzero(np.isin(found, ids[counts > 1], kind="sort"))):
        id = examples[place].id
        seen[id] += 1
        if seen[id] > 1:
            renamed[place] = f"{id}#{seen[id]}"
    if not renamed:
        return examples

    def under_its_id(place: int) -> AnyExample:
        example = examples[place]
        return replace(example, id=renamed[place]) if place in renamed else example

    return View(len(examples), under_its_id)
