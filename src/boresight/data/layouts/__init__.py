"""One file per layout: title, kind, columns, and two functions, `matches` and `read`.

A layout's file exposes

    TITLE     what it is called in a sentence, "HH-RLHF transcripts, implicit prompt"
    KIND      one of `reading.convert.KINDS`
    COLUMNS   the columns it cannot do without; those it does not read go to `meta`
    matches(record) -> bool     by the columns' presence and shape, cheap, never raises
    read(record, id) -> Example may raise `BadField`, even for a record that matches

and may expose

    INCOMPLETE                  layouts that a record of this one has if its last column is missing

Nothing is registered: the folder is the list. `matches` of any two files should exclude each other on
real files; where they do not, the reader refuses and asks for `data.layout`.
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
    """A layout: the contents of its file."""

    name: str
    title: str
    kind: str
    columns: tuple[str, ...]
    matches: Callable[[Record], bool]
    read: Callable[[Record, str], Example]
    incomplete: frozenset[str] = frozenset()
    """Layouts whose records are malformed rows in a file of this one."""

    def __str__(self) -> str:
        return f"{self.name} ({self.title})"


def names() -> list[str]:
    """Names of all layouts, sorted: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def fitting(record: object) -> list[Layout]:
    """Every layout whose columns and shapes this record has."""
    return [layout for layout in all_layouts() if layout.matches(record)] if isinstance(record, dict) else []


@cache
def all_layouts() -> tuple[Layout, ...]:
    """All layouts, by name."""
    return tuple(_load(name) for name in names())


def get(name: str) -> Layout:
    """The layout called `name`.

    Raises:
        UserError: no such file; the message suggests the nearest.
    """
    if name not in names():
        raise UserError(f"data.layout: there is no layout {name!r}{nearest(name, names())}.")
    return _load(name)


def _load(name: str) -> Layout:
    module = importlib.import_module(f"{__name__}.{name}")
    incomplete = frozenset(other.__name__.rpartition(".")[2] for other in getattr(module, "INCOMPLETE", ()))
    return Layout(name, module.TITLE, module.KIND, module.COLUMNS, module.matches, module.read, incomplete)
