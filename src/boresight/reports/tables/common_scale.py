"""One axis for the intervals of several rows, which makes a forest plot of a column of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from boresight.reports.drawing.scales import round_step, tick_texts
from boresight.reports.tables.metrics import Drawing, Mark
from boresight.stats.intervals import Interval
from boresight.stats.units import Unit

STEPS = 4
"""About as many steps of an axis as a column has room for."""


@dataclass(frozen=True)
class CommonScale:
    """The axis above a column. Places are in percent of its width."""

    title: str
    """What the axis measures, with its unit."""
    ticks: list[tuple[float, str]]
    guide: float | None
    """Place of a line through all rows, such as that of no difference."""


@dataclass(frozen=True)
class DrawnColumn:
    """The axis, and a drawing for every row by its name."""

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
    """Every interval on the axis of all; None where no value is finite.

    Args:
        guide: value at which a line is drawn; the axis includes it.
        ends: ends of the axis; by default the first round numbers around all limits.
        signed: the intervals are differences.
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
    """Ends and step of an axis that holds all values, in the unit as it is written; ends are round."""
    least, most = (end * unit.factor for end in (min(values), max(values)))
    step = round_step((most - least or abs(most) or 1.0) / STEPS)
    low, high = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    return low * step, max(high, low + 1) * step, step
