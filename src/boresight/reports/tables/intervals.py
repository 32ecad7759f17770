"""Format an interval as the cell of a table: its value, its limits, and the number of prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

from boresight.stats.intervals import Interval
from boresight.stats.units import Unit

NOTHING = "–"
"""Text of a cell without a value."""
CONSTANT = "by construction"
"""Text that replaces the limits of a value which is known without a measurement."""


@dataclass(frozen=True)
class Cell:
    """A value and the limits of its interval, as text."""

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
    """Format an interval in a unit; None if `interval` is None.

    Args:
        signed: whether the interval is a difference, which gets a sign and, for shares, is in points.
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
    """Format a value that is known without a measurement, without limits and number of prompts."""
    return None if interval is None else Cell(unit.value(interval.value), CONSTANT)


def interval_text(found: Cell | None) -> str:
    """Return the cell as text; a dash if it is None."""
    return NOTHING if found is None else str(found)


def missing_counts(interval: Interval) -> str:
    """Return the number of prompts and of missing ones as text, e.g. 798 (2 missing)."""
    return f"{interval.n:,}" + (f" ({interval.missing:,} missing)" if interval.missing else "")
