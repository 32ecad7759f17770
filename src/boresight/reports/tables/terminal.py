"""Evaluations as tables in the terminal: one line per metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rich.table import Table
from rich.text import Text

from boresight.core.wording import percent
from boresight.reports.tables.intervals import missing_counts
from boresight.stats.intervals import Interval
from boresight.stats.units import UNITS


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


TITLE = "held-out evaluation, differences with 95 % intervals"


def evaluation_table(measured: Sequence[MeasuredMetric]) -> Table:
    """Return a table with one row per metric: before and after training, and the paired difference.

    Metrics that were not measured are listed below the table.
    """
    return _compared(measured, TITLE, "before", "after")


def reward_table(measured: Sequence[MeasuredMetric], name: str, reference: str | None) -> Table:
    """Return a table with one row per metric: both systems' values and their paired difference.

    Without a reference, the table has the system's values and n only. It fits into 80 columns if names are
    short. Metrics that were not measured are listed below the table.
    """
    if reference is not None:
        return _compared(measured, f"{name}: differences with 95 % intervals by prompt", reference, name)
    lacking = [m.label for m in measured if m.after is None]
    table = _table(f"{name}, 95 % intervals by prompt", lacking)
    for head in ("value", "n"):
        table.add_column(head, justify="right", no_wrap=True)
    for m in measured:
        if m.after is not None:
            table.add_row(_label(m), _interval(m.after, m.unit), missing_counts(m.after))
    return table


def paired_table(measured: Sequence[MeasuredMetric], name: str, baseline: str) -> Table:
    """Return a table with one row per metric of two runs: both values and their paired difference."""
    title = f"{name} against {baseline}: paired differences with 95 % intervals"
    return _compared(measured, title, baseline, name)


def _compared(measured: Sequence[MeasuredMetric], title: str, before: str, after: str) -> Table:
    if any(m.unit == "share" for m in measured):
        title += "; shares in points"
    sizes = [m.difference or m.after or m.before for m in measured]
    table = _table(title, [m.label for m, size in zip(measured, sizes, strict=True) if size is None])
    for head in (before, after, "difference", "n"):
        whole = head in ("difference", "n")
        # a name longer than its column is continued on the next line; rich would cut it
        table.add_column(Text(head), justify="right", no_wrap=whole, overflow="ellipsis" if whole else "fold")
    for m, size in zip(measured, sizes, strict=True):
        if size is None:
            continue
        table.add_row(
            _label(m),
            _value(m.before, m.unit),
            _value(m.after, m.unit),
            Text(_interval(m.difference, m.unit, signed=True), style=_style(m)),
            missing_counts(size),
        )
    return table


def _table(title: str, lacking: Sequence[str]) -> Table:
    caption = Text(f"not measured: {', '.join(lacking)}") if lacking else None
    table = Table(
        title=title, title_justify="left", caption=caption, caption_justify="left", box=None, pad_edge=False
    )
    table.add_column("metric")
    return table


def _label(m: MeasuredMetric) -> Text:
    """Return the label of a metric, with its unit if it has one that the values do not show."""
    return Text(m.label if m.unit in UNITS or not m.unit else f"{m.label}, {m.unit}")


def _value(interval: Interval | None, unit: str) -> str:
    """Format a value without its interval; shares are in percent."""
    if interval is None:
        return "-"
    return percent(interval.value, 1) if unit == "share" else f"{interval.value:.3f}"


def _interval(interval: Interval | None, unit: str, *, signed: bool = False) -> str:
    """Format a value with its interval and a fixed number of decimals, so that columns align.

    Args:
        signed: whether the value is a difference, which gets a sign and, for shares, is in points.
    """
    if interval is None:
        return "-"
    scale, digits = (100, 1) if unit == "share" else (1, 3)
    low, high = (f"{scale * x:.{digits}f}" for x in (interval.low, interval.high))
    percent = " %" if unit == "share" and not signed else ""
    return f"{scale * interval.value:{'+' if signed else ''}.{digits}f}{percent} [{low}, {high}]"


def _style(m: MeasuredMetric) -> str:
    if m.difference is None or not m.difference.excludes_zero or m.better == "neither":
        return ""
    better = (m.difference.value > 0) == (m.better == "higher")
    return "green" if better else "red"
