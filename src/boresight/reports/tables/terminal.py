"""The evaluation as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rich.table import Table
from rich.text import Text

from boresight.reports.tables.intervals import missing_counts
from boresight.stats.intervals import Interval


class MeasuredMetric(Protocol):
    """A metric before and after training: `stats.paired.Measured`, or a run folder's `Metric`."""

    @property
    def label(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def better(self) -> str: ...
    @property
    def before(self) -> Interval | None: ...
    @property
    def after(self) -> Interval | None: ...
    @property
    def difference(self) -> Interval | None: ...


def evaluation_table(measured: Sequence[MeasuredMetric]) -> Table:
    """Before, after and paired difference of every metric, each with its 95 % interval and n."""
    table = Table(title="held-out evaluation, 95 % intervals", title_justify="left", box=None, pad_edge=False)
    table.add_column("metric")
    for name in ("before", "after", "difference", "n"):
        table.add_column(name, justify="right")
    for m in measured:
        size = m.after or m.before
        table.add_row(
            Text(m.label),
            _cell(m.before, m.unit),
            _cell(m.after, m.unit),
            _cell(m.difference, m.unit, signed=True, style=_style(m)),
            missing_counts(size) if size else "",
        )
    return table


def _cell(interval: Interval | None, unit: str, *, signed: bool = False, style: str = "") -> Text:
    """An interval with fixed digits, so that columns align; shares in percent."""
    if interval is None:
        return Text("-")
    scale, digits = (100, 1) if unit == "share" else (1, 3)
    sign = "+" if signed else ""
    value, low, high = (
        f"{x * scale:{sign}.{digits}f}" for x in (interval.value, interval.low, interval.high)
    )
    return Text(f"{value}{' %' if unit == 'share' else ''} [{low}, {high}]", style=style)


def _style(m: MeasuredMetric) -> str:
    if m.difference is None or m.difference.low <= 0 <= m.difference.high:
        return ""
    better = (m.difference.value > 0) == (m.better == "higher")
    return "green" if better else "red"
