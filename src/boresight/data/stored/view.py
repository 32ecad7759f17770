"""Lazy sequences, which compute an item at every access."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar, cast, overload

T = TypeVar("T")
S = TypeVar("S")


class View(Sequence[T]):
    """Lazy sequence of the items `get(0)` to `get(count - 1)`.

    Items are computed at every access and not stored. A slice is a view too. A view compares equal to a
    sequence with equal items.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, count: int, get: Callable[[int], T]) -> None:
        self._count, self._get = count, get

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        places = range(self._count)[index]
        if isinstance(places, range):
            return View(len(places), lambda place: self._get(places[place]))
        return self._get(places)

    def __iter__(self) -> Iterator[T]:
        return map(self._get, range(self._count))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))


def picked(items: Sequence[T], places: Iterable[int]) -> View[T]:
    """Return the items at the indices `places`, in this order."""
    kept = array("q", places)
    return View(len(kept), lambda place: items[kept[place]])


def of_type(items: Sequence[object], kind: type[T]) -> View[T]:
    """Return the items that are instances of `kind`."""
    places = (place for place, item in enumerate(items) if isinstance(item, kind))
    return cast("View[T]", picked(items, places))


def concatenated(items: Sequence[T], others: Sequence[T]) -> View[T]:
    """Return the items, followed by the others."""
    first = len(items)
    return View(first + len(others), lambda place: items[place] if place < first else others[place - first])


def each_changed(items: Sequence[S], change: Callable[[S], T]) -> View[T]:
    """Return `change(item)` for every item."""
    return View(len(items), lambda place: change(items[place]))
