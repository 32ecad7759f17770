"""Cells of tables that hold an interval: a value, its limits, and the number of prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

from boresight.stats.intervals import Interval
from boresight.stats.units import Unit

NOTHING = "–"
"""Text of a cell without a value."""
CONSTANT = "by construction"
"""What stands in place of the limits of a value that is known without a measurement."""


@dataclass(frozen=True)
class Cell:
    """A value and its limits as text."""

    value: str
    limits: str

    def __str__(self) -> str:
        return f"{self.value} {self.limits}"


@overload
def interval_cell(
    interval: Interval, unit: Unit, *, signed: bool = ..., n: bool = ..., missing: bool = ...
) -> Cell: ...
@overload
def interval_cell(
    interval: Interval | None, unit: Unit, *, signed: bool = ..., n: bool = ..., missing: bool = ...
) -> Cell | None: ...
def interval_cell(
    interval: Interval | None, unit: Unit, *, signed: bool = False, n: bool = False, missing: bool = False
) -> Cell | None:
    """The interval in a unit; None where nothing was measured.

    Args:
        signed: the interval is a difference; it gets its sign, and a difference of shares is in points.
        n: add the number of prompts.
        missing: add the number of missing prompts, if there are any.
    """
    if interval is None:
        return None
    limits = unit.limits(interval)
    if n:
        limits += f", n = {interval.n:,}"
    if missing and interval.missing:
        limits += f", {interval.missing:,} missing"
    write = unit.signed if signed else unit.value
    return Cell(write(interval.value, unit.more_decimals(interval)), limits)


def constant_cell(interval: Interval | None, unit: Unit) -> Cell | None:
    """A value that is known without a measurement: no limits and no number of prompts."""
    return None if interval is None else Cell(unit.value(interval.value), CONSTANT)


def interval_text(found: Cell | None) -> str:
    """The cell as text, or a dash."""
    return NOTHING if found is None else str(found)


def missing_counts(interval: Interval) -> str:
    """The number of prompts and of missing ones as text, e.g. 798 (2 missing)."""
    return f"{interval.n:,}" + (f" ({interval.missing:,} missing)" if interval.missing else "")
