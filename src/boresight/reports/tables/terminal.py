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


def reward_table(measured: Sequence[MeasuredMetric], name: str, reference: str | None) -> Table:
    """One line per metric: the reference's value, the system's with its interval, their paired difference.

    Fits 80 columns with short names. Without a reference, the system's metrics by themselves.
    """
    table = Table(title=f"{name}, 95 % intervals by prompt", title_justify="left", box=None, pad_edge=False)
    table.add_column("metric")
    for head in ["value", "n"] if reference is None else [reference, name, "difference", "n"]:
        table.add_column(Text(head), justify="right")
    for m in measured:
        size = m.difference or m.after
        after, counts = _short(m.after, m.unit), missing_counts(size) if size else ""
        if reference is None:
            table.add_row(Text(m.label), after, counts)
        else:
            before = _short(m.before, m.unit).partition(" [")[0]
            difference = Text(_short(m.difference, m.unit, "+").replace(" %", ""), style=_style(m))
            table.add_row(Text(m.label), before, after, difference, counts)
    return table


def _short(interval: Interval | None, unit: str, sign: str = "") -> str:
    """An interval for narrow columns: shares in percent, other values with two decimals."""
    if interval is None:
        return "-"
    scale, digits, percent = (100, 1, " %") if unit == "share" else (1, 2, "")
    value, low, high = (
        f"{x * scale:{sign}.{digits}f}" for x in (interval.value, interval.low, interval.high)
    )
    return f"{value}{percent} [{low}, {high}]"


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
    if m.difference is None or not m.difference.excludes_zero or m.better == "neither":
        return ""
    better = (m.difference.value > 0) == (m.better == "higher")
    return "green" if better else "red"
