"""Layouts of data files, one file per layout.

The file of a layout defines

    TITLE     what it is called in a sentence, "HH-RLHF transcripts, implicit prompt"
    KIND      one of `reading.convert.KINDS`
    COLUMNS   the required columns; columns that the layout does not read go to `meta`
    matches(record) -> bool     by presence and shape of the columns; cheap, never raises
    read(record, id) -> Example may raise `BadField`, even for a record that matches

and optionally

    INCOMPLETE                  layouts of rows of this layout whose last column is missing

There is no registry: every file in this folder is a layout. No real record should match two layouts; if one
does, the reader raises an error that suggests setting `data.layout`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.schema import Example
from boresight.data.columns import Record


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout: the definitions in its file, under the name of the file."""

    name: str
    title: str
    kind: str
    columns: tuple[str, ...]
    matches: Callable[[Record], bool]
    read: Callable[[Record, str], Example]
    incomplete: frozenset[str] = frozenset()
    """Names of layouts whose records, in a file of this layout, are malformed rows with a missing column."""

    def __str__(self) -> str:
        return f"{self.name} ({self.title})"


def names() -> list[str]:
    """Return the names of all layouts, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def fitting(record: object) -> list[Layout]:
    """Return every layout that the record matches."""
    return [layout for layout in all_layouts() if layout.matches(record)] if isinstance(record, dict) else []


@cache
def all_layouts() -> tuple[Layout, ...]:
    """Return all layouts, sorted by name."""
    return tuple(_load(name) for name in names())


def get(name: str) -> Layout:
    """Return the layout called `name`.

    Raises:
        UserError: there is no such layout; the message suggests the most similar name.
    """
    if name not in names():
        raise UserError(f"data.layout: there is no layout {name!r}{nearest(name, names())}.")
    return _load(name)


def _load(name: str) -> Layout:
    module = importlib.import_module(f"{__name__}.{name}")
    incomplete = frozenset(other.__name__.rpartition(".")[2] for other in getattr(module, "INCOMPLETE", ()))
    return Layout(name, module.TITLE, module.KIND, module.COLUMNS, module.matches, module.read, incomplete)
