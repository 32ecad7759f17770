"""What a verifier says of pairs, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from boresight.checks.data.verified_pairs import VerifiedPair, VerifiedPairs
from boresight.data.check_file import section_table
from boresight.data.reading.load import plural
from boresight.scorers.judges.base import Score
from boresight.stats.intervals import Interval
from boresight.stats.units import unit_named

SHOWN = 100
"""Rows of a table."""
SHARE = unit_named("share")


def print_verified(found: VerifiedPairs, console: Console) -> None:
    """Counts with intervals, and the rows; text from the file is printed as it is, never as markup."""
    contradicted, missing = found.contradicted, found.missing
    console.print(_counts_table(found))
    console.print(Text(found.rule, style="dim"))
    if contradicted:
        console.print(_rows_table(found, contradicted))
    if missing:
        console.print(_missing_table(missing))
    scored = len(found.pairs) - len(missing)
    verdict = f"{found.reward} contradicts {len(contradicted):,} of {plural(scored, 'scored pair')}"
    without = f"; {len(missing):,} without a score" if missing else ""
    console.print(Text(f"{verdict}{without}.", style="red" if contradicted else "green"))


def _counts_table(found: VerifiedPairs) -> Table:
    table = section_table(f"Reward {found.reward}", "")
    for heading in ("pairs", "share, 95 % interval"):
        table.add_column(heading, justify="right")
    scored = len(found.pairs) - len(found.missing)
    table.add_row("scored", f"{scored:,}", "")
    for what, count in found.counts.items():
        table.add_row(what, f"{count:,}", _share(found.share(what)))
    table.add_row("any of these", f"{len(found.contradicted):,}", _share(found.share()))
    if found.missing:
        table.add_row("without a score", f"{len(found.missing):,}", "")
    return table


def _share(interval: Interval) -> str:
    return f"{SHARE.value(interval.value)} {SHARE.limits(interval)}"


def _rows_table(found: VerifiedPairs, pairs: Sequence[VerifiedPair]) -> Table:
    table = section_table("Contradicted pairs", "row", "id", "chosen", "rejected")
    table.add_column("what is wrong", overflow="fold")
    for one in pairs[:SHOWN]:
        said = ", ".join(found.contradictions(one))
        table.add_row(f"{one.row:,}", Text(one.pair.id), _value(one.chosen), _value(one.rejected), Text(said))
    return _with_rest(table, [one.row for one in pairs[SHOWN:]])


def _missing_table(pairs: Sequence[VerifiedPair]) -> Table:
    table = section_table("Pairs without a score", "row", "id")
    table.add_column("why", overflow="fold")
    for one in pairs[:SHOWN]:
        table.add_row(f"{one.row:,}", Text(one.pair.id), Text(one.failure))
    return _with_rest(table, [one.row for one in pairs[SHOWN:]])


def _with_rest(table: Table, rows: Sequence[int]) -> Table:
    """The table with the numbers of the rows that it does not show."""
    if rows:
        table.caption = Text("and rows " + ", ".join(map(str, rows)))
        table.caption_justify = "left"
    return table


def _value(score: Score) -> str:
    return f"{score.value:.4g}"
