"""Sequence of examples in memory up to a limit, and on the disk beyond it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from sys import getsizeof
from typing import Any, overload

from boresight.core.schema import Demonstration, Example, Labeled, Preference, Prompt
from boresight.data.stored.records import UnnamedRecords
from boresight.data.stored.view import View

IN_MEMORY = 400_000_000
"""Maximum memory for the examples of a source, in bytes: about 70,000 pairs with answers of 300 words."""
MEASURED_EVERY = 16
"""Number of examples per measured example; measuring every one would take a tenth of the reading time."""
DEEPEST = 100
"""Maximum nesting depth of a value that is stored as JSON; Python's JSON writer fails on deep nesting."""
KEPT = "\0kept"
"""Key of an object that stands for a value in memory; the object contains the index of the value."""
KINDS: dict[str, type[Example]] = {
    kind.__name__: kind for kind in (Prompt, Demonstration, Preference, Labeled)
}


class SpooledExamples(Sequence[Example]):
    """Sequence of appended examples; compares equal to a list of them.

    Examples beyond `IN_MEMORY` are stored on the disk as JSON, and decoded at every access. Values that do
    not survive a round trip through JSON, such as the dates in a Parquet file, stay in memory.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self._first: list[Example] = []
        self._room = IN_MEMORY
        self._rest = UnnamedRecords()
        self._kept: list[Any] = []

    def append(self, example: Example) -> None:
        """Append one example.

        Raises:
            UserError: the disk is full.
        """
        if self._room > 0:
            if len(self._first) % MEASURED_EVERY == 0:
                self._room -= MEASURED_EVERY * example_bytes(example)
            self._first.append(example)
            return
        values = [getattr(example, name) for name in example.__slots__]
        written = _written([type(example).__name__, *values], self._keep)
        self._rest.append(json.dumps(written, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    def __len__(self) -> int:
        return len(self._first) + len(self._rest)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return View(len(places), lambda place: self[places[place]])
        if places < len(self._first):
            return self._first[places]
        return self._read(places - len(self._first))

    def __iter__(self) -> Iterator[Example]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        return View(len(self), self.__getitem__) == other

    def _keep(self, value: Any) -> dict[str, int]:
        self._kept.append(value)
        return {KEPT: len(self._kept) - 1}

    def _read(self, number: int) -> Example:
        text = self._rest[number].decode("utf-8", "surrogatepass")
        kind, *values = json.loads(text, object_hook=self._restored if self._kept else None)
        return KINDS[kind](*values)

    def _restored(self, found: dict[str, Any]) -> Any:
        return self._kept[found[KEPT]] if KEPT in found else found


def example_bytes(example: Example) -> int:
    """Return the memory of an example and its parts, in bytes."""
    size, rest = getsizeof(example), [getattr(example, name) for name in example.__slots__]
    while rest:
        value = rest.pop()
        size += getsizeof(value)
        if isinstance(value, dict):
            rest += value.values()
        elif isinstance(value, list):
            rest += value
    return size


def _written(value: Any, keep: Callable[[Any], Any], depth: int = DEEPEST) -> Any:
    """Return a value that JSON can store: parts that JSON would change are replaced by `keep(part)`."""
    if depth and type(value) is dict and all(type(key) is str for key in value) and KEPT not in value:
        return {key: _written(inner, keep, depth - 1) for key, inner in value.items()}
    if depth and type(value) is list:
        return [_written(inner, keep, depth - 1) for inner in value]
    return value if value is None or type(value) in (str, int, float, bool) else keep(value)
