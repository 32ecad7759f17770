"""The page of a leaderboard: every score with its interval, and verdicts on pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boresight.core.errors import UserError
from boresight.core.wording import plural
from boresight.evaluation.leaderboard import Entry, EntryPair, against_bar, pairs, read_leaderboard
from boresight.reports.page import check_page_path, page, write_page
from boresight.reports.tables.common_scale import DrawnColumn, draw_on_one_scale
from boresight.reports.tables.files import Table, TableRow, write_tables
from boresight.reports.tables.intervals import Cell, interval_cell
from boresight.reports.tables.metrics import Drawing
from boresight.stats.units import unit_named

SHARE = unit_named("share")


@dataclass(frozen=True)
class Standing:
    """One system as a row of the table."""

    name: str
    won: str
    cell: Cell
    drawing: Drawing


@dataclass(frozen=True)
class PairLine:
    """Two systems as a row of the table of pairs."""

    label: str
    counts: str
    cell: Cell
    drawing: Drawing
    p: str
    test: str
    resolved: bool
    needed: str


def write_leaderboard(csv: Path, path: Path, bar: float | None = None) -> tuple[Path, list[str]]:
    """Write the page and its tables; returns the path of the page and the sentences to print.

    Args:
        csv: file with the columns system, k and n.
        path: page to write.
        bar: threshold as a share, such as 0.10, with which every system is compared; None for no threshold.

    Raises:
        UserError: `bar` is not between 0 and 1, the file cannot be read, or the page or its tables would
            replace another file.
    """
    if bar is not None and not 0 <= bar <= 1:
        example = f"; write {bar / 100:g} for {bar:g} %" if 1 < bar <= 100 else ""
        raise UserError(f"--bar: {bar:g} is not a share between 0 and 1{example}.")
    if path.with_suffix(".csv").resolve() == csv.resolve():
        raise UserError(f"{csv}: the tables would be written over it; give another name with --out.")
    check_page_path(path)
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
    """Return the page as HTML."""
    scores = draw_on_one_scale(
        {entry.name: entry.share for entry in entries}, SHARE, "share of prompts, %", guide=bar
    )
    differences = draw_on_one_scale(
        {_label(pair): pair.found.difference for pair in compared},
        SHARE,
        "difference, points",
        guide=0.0,
        signed=True,
    )
    assert scores is not None and differences is not None  # shares are finite
    resolved = sum(pair.resolved for pair in compared)
    counted = f"{resolved:,} of {len(compared):,} differences are significant after Holm's adjustment."
    return page(
        "leaderboard.html.j2",
        title=name,
        headline=leaders(entries, compared) if bar is None else reaching(entries, bar),
        evidence=counted if bar is None else f"{leaders(entries, compared)}. {counted}",
        standings=[_standing(entry, scores) for entry in entries],
        scores=scores.scale,
        bar=None if bar is None else SHARE.value(bar),
        bars=bars,
        pairs=[_line(pair, differences) for pair in compared],
        differences=differences.scale,
    )


def leaders(entries: Sequence[Entry], compared: Sequence[EntryPair]) -> str:
    """Return who leads, with share, interval and n, and how many systems are significantly behind."""
    first, others = entries[0], len(entries) - 1
    level = [entry.name for entry in entries if entry.k / entry.n == first.k / first.n]
    if len(level) > 1:
        return f"{', '.join(level[:-1])} and {level[-1]} lead with {SHARE.value(first.share.value)}"
    lead = f"{first.name} leads with {_share_in_words(first)}"
    ahead = sum(pair.resolved for pair in compared if pair.better == first)
    if others == 1:
        return f"{lead}, {'' if ahead else 'not '}significantly ahead of {entries[1].name}"
    how_many = "none" if ahead == 0 else "all" if ahead == others else str(ahead)
    return f"{lead}, significantly ahead of {how_many} of the {others} others"


def reaching(entries: Sequence[Entry], bar: float) -> str:
    """Return how many systems reach the threshold; if none does, the share of the best system."""
    reached = [entry for entry in entries if entry.k >= round(bar * entry.n, 9)]
    if not reached:
        best = entries[0]
        inside = ", an interval that contains the bar" if best.share.high >= bar else ""
        nearest = f"{best.name} has {_share_in_words(best)}{inside}"
        return f"No system reaches the bar of {SHARE.value(bar)}: {nearest}"
    certain = sum(entry.share.low > bar for entry in reached)
    verb = "reaches" if len(reached) == 1 else "reach"
    return (
        f"{len(reached)} of {len(entries)} systems {verb} the bar of {SHARE.value(bar)}, "
        f"{certain or 'none'} significantly; {reached[0].name} has {_share_in_words(reached[0])}"
    )


def _share_in_words(entry: Entry) -> str:
    return f"{SHARE.estimate(entry.share)} of {plural(entry.n, 'prompt')}"


def _standing(entry: Entry, drawn: DrawnColumn) -> Standing:
    won = f"{entry.k:g} of {entry.n:,}"
    return Standing(entry.name, won, interval_cell(entry.share, SHARE, n=True), drawn.rows[entry.name])


def _label(pair: EntryPair) -> str:
    return f"{pair.better.name} over {pair.worse.name}"


def _line(pair: EntryPair, drawn: DrawnColumn) -> PairLine:
    return PairLine(
        label=_label(pair),
        counts=f"{pair.better.k:g} of {pair.better.n:,}, {pair.worse.k:g} of {pair.worse.n:,}",
        cell=interval_cell(pair.found.difference, SHARE, signed=True),
        drawing=drawn.rows[_label(pair)],
        p=f"{pair.p:.2g}",
        test=f"z = {pair.found.z:.2f}, p = {pair.found.p:.2g}",
        resolved=pair.resolved,
        needed="" if pair.resolved or pair.needed is None else f"about {pair.needed:,} prompts each",
    )
