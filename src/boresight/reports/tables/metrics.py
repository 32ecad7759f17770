"""Build the rows of the table of metrics: numbers as text, and positions of their dots and intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from boresight.reports.by_construction import constants_before
from boresight.reports.headline import direction
from boresight.reports.read_run import Metric
from boresight.reports.tables.intervals import Cell, constant_cell, interval_cell, missing_counts
from boresight.stats.intervals import Interval
from boresight.stats.units import Unit, unit_named


@dataclass(frozen=True)
class Mark:
    """A dot at `at` with its interval from `low` to `high`, in percent of the drawing's width."""

    role: str
    at: float
    low: float
    high: float


@dataclass(frozen=True)
class Drawing:
    """Dots and intervals of one metric on one scale; `left` and `right` are the texts of its ends."""

    marks: list[Mark]
    left: str
    right: str
    label: str
    """The drawing as text, for screen readers."""
    null: float | None = None
    """Position of a difference of zero, in percent of the width."""


@dataclass(frozen=True)
class MetricRow:
    """One row of the table of metrics."""

    label: str
    before: Cell | None
    after: Cell | None
    difference: Cell | None
    verdict: str
    n: str
    drawing: Drawing | None


VERDICTS = {"unresolved": "not significant"}


def metric_rows(metrics: Sequence[Metric]) -> list[MetricRow]:
    """Return one row per metric, in the order of evaluation.json."""
    constants = constants_before(metrics)
    return [_row(metric, metric.name in constants) for metric in metrics]


def _row(metric: Metric, is_constant_before: bool) -> MetricRow:
    unit, verdict = unit_named(metric.unit), direction(metric)
    before, drawn = interval_cell(metric.before, unit), metric.before
    if is_constant_before and drawn:
        before, drawn = constant_cell(drawn, unit), replace(drawn, low=drawn.value, high=drawn.value)
    return MetricRow(
        label=metric.label,
        before=before,
        after=interval_cell(metric.after, unit),
        difference=interval_cell(metric.difference, unit, signed=True),
        verdict=VERDICTS.get(verdict, verdict) if metric.difference else "",
        n=_counts(metric),
        drawing=draw_intervals({"before": drawn, "after": metric.after}, unit),
    )


def _counts(metric: Metric) -> str:
    """Return n of the comparison or, without one, of the value, and the number of missing values."""
    interval = metric.difference or metric.after or metric.before
    return "" if interval is None else missing_counts(interval)


def draw_intervals(
    intervals: dict[str, Interval | None], unit: Unit, null: float | None = None
) -> Drawing | None:
    """Place several intervals on a scale that covers all of them; None if there is no finite value.

    Args:
        intervals: an interval by the role of its dot, such as `before`; None is skipped.
        null: value in the middle of the scale, such as 0 for differences; None fits the scale to the
            intervals.
    """
    found = {role: interval for role, interval in intervals.items() if interval}
    ends = [x for i in found.values() for x in (i.value, i.low, i.high) if math.isfinite(x)]
    if not ends:
        return None
    if null is None:
        low, high = _scale(min(ends), max(ends), is_share=unit.factor == 100)
    else:
        low, high = _around(null, max(abs(x - null) for x in ends))

    def place(x: float) -> float:
        return round(100 * min(1.0, max(0.0, (x - low) / (high - low))), 2)

    percent = unit.value_suffix if unit.factor == 100 and null != 0 else ""  # a difference is in points
    left, right = (f"{unit.factor * end:,.6g}{percent}" for end in (low, high))
    return Drawing(
        marks=[Mark(role, place(i.value), place(i.low), place(i.high)) for role, i in found.items()],
        left=left,
        right=right,
        label="; ".join(f"{role} {unit.estimate(i)}" for role, i in found.items()),
        null=None if null is None else 50.0,
    )


def _around(null: float, reach: float) -> tuple[float, float]:
    """Return the ends of a scale with `null` in its middle, rounded.

    They are at least `reach` from the middle.
    """
    step = 10 ** math.floor(math.log10(max(reach, 1e-9)))
    half = max(1, math.ceil(reach / step)) * step
    return null - half, null + half


def _scale(low: float, high: float, is_share: bool) -> tuple[float, float]:
    """Return the ends of a scale, rounded, with some space beyond the values.

    Shares that span more than a quarter of the range get the scale 0 to 1. The space does not extend below 0
    if no value does, nor above 1 for shares.
    """
    if is_share and high - low > 0.25:
        return 0.0, 1.0
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
    least = 0.0 if low >= 0 else -math.inf
    low, high = math.floor(low / step - 0.2) * step, math.ceil(high / step + 0.2) * step
    return max(least, low), min(1.0, high) if is_share else high
