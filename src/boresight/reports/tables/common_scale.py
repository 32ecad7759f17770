"""Draw the intervals of several rows on one axis, which makes a forest plot of a column of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from boresight.reports.drawing.scales import round_step, tick_texts
from boresight.reports.tables.metrics import Drawing, Mark
from boresight.stats.intervals import Interval
from boresight.stats.units import Unit

STEPS = 4
"""Approximate number of steps between the ticks of an axis."""


@dataclass(frozen=True)
class CommonScale:
    """The axis above a column. Positions are in percent of the column's width."""

    title: str
    """Quantity that the axis shows, with its unit."""
    ticks: list[tuple[float, str]]
    guide: float | None
    """Position of a line through all rows, such as that of no difference; None without a line."""


@dataclass(frozen=True)
class DrawnColumn:
    """The axis, and a drawing for every row by the name of the row."""

    scale: CommonScale
    rows: Mapping[str, Drawing]


def draw_on_one_scale(
    intervals: Mapping[str, Interval],
    unit: Unit,
    title: str,
    *,
    guide: float | None = None,
    ends: tuple[float, float] | None = None,
    signed: bool = False,
) -> DrawnColumn | None:
    """Draw every interval on one axis that contains all of them; None if no value is finite.

    Args:
        intervals: the interval of every row, by the name of the row.
        unit: unit of all intervals.
        title: quantity that the axis shows, with its unit.
        guide: value at which a line is drawn; the axis includes it.
        ends: ends of the axis; by default the first round numbers around all limits.
        signed: whether the intervals are differences.
    """
    values = [x for i in intervals.values() for x in (i.value, i.low, i.high) if math.isfinite(x)]
    if not values:
        return None
    low, high, step = _axis([*values, *([] if guide is None else [guide]), *(ends or ())], unit)

    def place(x: float) -> float:
        return round(100 * min(1.0, max(0.0, (x * unit.factor - low) / (high - low))), 2)

    marks = [low + k * step for k in range(round((high - low) / step) + 1)]
    texts = tick_texts(marks)
    words = unit.change if signed else unit.estimate
    rows = {
        name: Drawing(
            marks=[Mark("after", place(i.value), place(i.low), place(i.high))],
            left=texts[0],
            right=texts[-1],
            label=f"{name}: {words(i)}",
        )
        for name, i in intervals.items()
    }
    ticks = [(place(mark / unit.factor), text) for mark, text in zip(marks, texts, strict=True)]
    return DrawnColumn(CommonScale(title, ticks, None if guide is None else place(guide)), rows)


def _axis(values: list[float], unit: Unit) -> tuple[float, float, float]:
    """Return low end, high end and step of an axis with round ends that contains all values.

    They are in the unit as it is written, in which shares are percent.
    """
    least, most = (end * unit.factor for end in (min(values), max(values)))
    step = round_step((most - least or abs(most) or 1.0) / STEPS)
    low, high = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    return low * step, max(high, low + 1) * step, step
