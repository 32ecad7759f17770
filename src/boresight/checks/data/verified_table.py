"""Print how a verifier grades a file, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from boresight.checks.data.verified import VerifiedFile, VerifiedRow
from boresight.data.check_file import section_table
from boresight.stats.units import unit_named

SHOWN = 100
"""Maximum number of rows in a table."""
SHARE = unit_named("share")


def print_verified(found: VerifiedFile, console: Console) -> None:
    """Print counts with intervals, and the rows that are contradicted or lack a score.

    Text from the file is printed as it is, never as markup.
    """
    contradicted, missing = found.contradicted, found.missing
    console.print(_counts_table(found))
    console.print(Text(found.rule, style="dim"))
    if contradicted:
        console.print(_rows_table(found, contradicted))
    if missing:
        console.print(_missing_table(missing))
    console.print(Text(found.verdict, style="red" if contradicted else "green"))


def _counts_table(found: VerifiedFile) -> Table:
    table = section_table(f"Reward {found.reward}", "")
    for heading in ("rows", "share, 95 % interval"):
        table.add_column(heading, justify="right")
    scored = len(found.rows) - len(found.missing)
    table.add_row("scored", f"{scored:,}", "")
    for what, count in found.counts.items():
        table.add_row(what, f"{count:,}", SHARE.estimate(found.share(what)))
    if len(found.counts) > 1:
        table.add_row("any of these", f"{len(found.contradicted):,}", SHARE.estimate(found.share()))
    if found.missing:
        table.add_row("without a score", f"{len(found.missing):,}", "")
    return table


def _rows_table(found: VerifiedFile, rows: Sequence[VerifiedRow]) -> Table:
    table = section_table("Contradicted rows", "row", "id", *rows[0].scores)
    table.add_column("what is wrong", overflow="fold")
    for one in rows[:SHOWN]:
        said = ", ".join(found.contradictions(one))
        scores = [f"{score.value:.4g}" for score in one.scores.values()]
        table.add_row(f"{one.row:,}", Text(one.example.id), *scores, Text(said))
    return _with_rest(table, [one.row for one in rows[SHOWN:]])


def _missing_table(rows: Sequence[VerifiedRow]) -> Table:
    table = section_table("Rows without a score", "row", "id")
    table.add_column("why", overflow="fold")
    for one in rows[:SHOWN]:
        table.add_row(f"{one.row:,}", Text(one.example.id), Text(one.failure))
    return _with_rest(table, [one.row for one in rows[SHOWN:]])


def _with_rest(table: Table, rows: Sequence[int]) -> Table:
    """Return the table with the numbers of the rows that it omits in its caption."""
    if rows:
        table.caption = Text("and rows " + ", ".join(map(str, rows)))
        table.caption_justify = "left"
    return table
