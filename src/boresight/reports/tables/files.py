"""The numbers of a comparison as Markdown, CSV and LaTeX, for papers, pull requests and spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from boresight.core.files import write_text
from boresight.reports.tables.intervals import constant_cell, interval_cell, interval_text
from boresight.stats.intervals import Interval
from boresight.stats.units import unit_named

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


@dataclass(frozen=True)
class TableRow:
    """One metric (or one system), with an interval per column; None where it was not measured."""

    label: str
    unit: str
    intervals: list[Interval | None]
    constants: tuple[int, ...] = ()
    """Indices of intervals whose value is known by construction; their limits are not written."""


@dataclass(frozen=True)
class Table:
    """A table of intervals, for example with runs as columns and metrics as rows.

    `head` is the heading of the first column, `columns` are those of the intervals.
    """

    head: str
    columns: list[str]
    rows: list[TableRow]
    differences: tuple[str, ...] = ()
    """Headings of columns with differences, which are written with a sign and, for shares, in points."""


def write_tables(page: Path, table: Table) -> list[Path]:
    """Write the table beside `page`, with the endings .md, .csv and .tex; returns the paths."""
    contents = (markdown(table), comma_separated(table), latex(table))
    for path, content in zip(table_paths(page), contents, strict=True):
        write_text(path, content)
    return table_paths(page)


def table_paths(page: Path) -> list[Path]:
    """Return the paths of the files beside a page that contain its table: Markdown, CSV and LaTeX."""
    return [page.with_suffix(ending) for ending in (".md", ".csv", ".tex")]


def markdown(table: Table) -> str:
    """Return the table as Markdown."""
    return pipe_table([table.head, *table.columns], _cells(table))


def pipe_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table in which columns of numbers are right-aligned.

    A pipe in a cell is escaped, and a line break becomes a space.
    """

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(re.sub(r"\s+", " ", cell).replace("|", "\\|") for cell in cells) + " |\n"

    columns = [[row[i] for row in rows] for i in range(1, len(head))]
    rule = "|---|" + "".join("---:|" if _figures(column) else "---|" for column in columns) + "\n"
    return line(head) + rule + "".join(line(cells) for cells in rows)


def _figures(cells: Sequence[str]) -> bool:
    """Whether each cell of a column begins with a number, is empty, or is a dash."""
    return all(re.match(r"[+\-−]?\d|[–-]?$", cell) for cell in cells)


def latex(table: Table) -> str:
    """Return the table as LaTeX with booktabs rules; special characters of LaTeX are escaped."""

    def line(cells: Sequence[str]) -> str:
        escaped = ("".join(LATEX.get(c, c) for c in re.sub(r"\s+", " ", cell)) for cell in cells)
        return " & ".join(escaped) + r" \\" + "\n"

    head = r"\begin{tabular}{l" + "r" * len(table.columns) + "}\n\\toprule\n"
    body = "".join(line(cells) for cells in _cells(table))
    return head + line([table.head, *table.columns]) + "\\midrule\n" + body + "\\bottomrule\n\\end{tabular}\n"


def comma_separated(table: Table) -> str:
    """Return the table as CSV with one interval per line, unrounded, for spreadsheets and scripts."""
    head = [table.head, "column", "unit", "value", "low", "high", "n", "missing"]
    return csv_text(
        head,
        (
            [plain_text(row.label), plain_text(column), row.unit, *numbers(interval)]
            for row in table.rows
            for column, interval in zip(table.columns, row.intervals, strict=True)
            if interval is not None
        ),
    )


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return CSV text with a header and rows."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([head, *rows])
    return stream.getvalue()


def numbers(interval: Interval) -> list[float]:
    """Return value, limits, n and number of missing prompts, unrounded."""
    return [interval.value, interval.low, interval.high, interval.n, interval.missing]


def _cells(table: Table) -> list[list[str]]:
    differs = [column in table.differences for column in table.columns]
    return [
        [
            row.label,
            *(
                interval_text(
                    constant_cell(interval, unit_named(row.unit))
                    if place in row.constants
                    else interval_cell(interval, unit_named(row.unit), signed=signed, n=True)
                )
                for place, (interval, signed) in enumerate(zip(row.intervals, differs, strict=True))
            ),
        ]
        for row in table.rows
    ]


def plain_text(name: str) -> str:
    """Return a name that a spreadsheet does not interpret as a formula: an apostrophe is added where needed.

    Names come from untrusted files.
    """
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
