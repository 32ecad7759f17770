"""The page of a leaderboard: every score with its interval, and verdicts on pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from boresight.core.errors import UserError
from boresight.evaluation.leaderboard import Entry, EntryPair, against_bar, pairs, read_leaderboard
from boresight.reports.page import check_page_path, page, write_page
from boresight.reports.tables.files import Table, TableRow, write_tables
from boresight.reports.tables.intervals import Cell, interval_cell
from boresight.reports.tables.metrics import Drawing, draw_intervals
from boresight.stats.units import unit_named

SHARE = unit_named("share")


@dataclass(frozen=True)
class Standing:
    """One system as a line of the table."""

    name: str
    won: str
    cell: Cell
    drawing: Drawing | None


@dataclass(frozen=True)
class PairLine:
    """Two systems as a line of the table of pairs."""

    label: str
    cell: Cell
    test: str
    resolved: bool
    needed: str


def write_leaderboard(csv: Path, path: Path, bar: float | None = None) -> tuple[Path, list[str]]:
    """Write the page and its tables; returns the path and the sentences to print.

    `bar` is a threshold as a share, such as 0.10, with which every row is compared.
    """
    check_page_path(path)
    if path.with_suffix(".csv").resolve() == csv.resolve():
        raise UserError(f"{csv}: the tables would be written over it; give another name with --out.")
    entries = read_leaderboard(csv)
    compared = pairs(entries)
    bars = [] if bar is None else [against_bar(entry, bar) for entry in entries]
    write_page(path, render_leaderboard(csv.stem, entries, compared, bar, bars))
    rows = [TableRow(e.name, "share", [e.share]) for e in entries]
    write_tables(path, Table("system", ["share"], rows))
    scores = [f"{e.name}: {e.k:g} of {e.n:,}, {SHARE.estimate(e.share)}." for e in entries]
    return path, [*scores, *bars, *(pair.sentence for pair in compared)]


def render_leaderboard(
    name: str, entries: Sequence[Entry], compared: Sequence[EntryPair], bar: float | None, bars: Sequence[str]
) -> str:
    """The page as HTML."""
    resolved = sum(pair.resolved for pair in compared)
    return page(
        "leaderboard.html.j2",
        title=name,
        headline=f"{len(entries)} systems, {resolved} of {len(compared)} differences significant",
        standings=_standings(entries),
        bar=None if bar is None else SHARE.value(bar),
        bars=bars,
        pairs=[_line(pair) for pair in compared],
    )


def _standings(entries: Sequence[Entry]) -> list[Standing]:
    """All scores on one scale, so that they can be compared by eye."""
    scale = draw_intervals({entry.name: entry.share for entry in entries}, SHARE)
    assert scale is not None  # shares are finite
    return [
        Standing(
            entry.name,
            f"{entry.k:g} of {entry.n:,}",
            interval_cell(entry.share, SHARE),
            _drawn_alone(scale, entry),
        )
        for entry in entries
    ]


def _drawn_alone(scale: Drawing, entry: Entry) -> Drawing:
    mark = next(mark for mark in scale.marks if mark.role == entry.name)
    return replace(scale, marks=[replace(mark, role="after")], label=SHARE.estimate(entry.share))


def _line(pair: EntryPair) -> PairLine:
    difference = pair.found.difference
    return PairLine(
        label=f"{pair.better.name} over {pair.worse.name}",
        cell=Cell(SHARE.difference(difference.value), SHARE.limits(difference)),
        test=f"z = {pair.found.z:.2f}, p = {pair.found.p:.2g}; {pair.p:.2g} adjusted",
        resolved=pair.resolved,
        needed="" if pair.resolved or pair.needed is None else f"about {pair.needed:,} prompts each",
    )
