"""Build the tables of a plan with blocks: its questions, and the arms of each block.

Page, Markdown and CSV are made from the same cells, so that they agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from boresight.core.wording import format_duration, plural
from boresight.experiments.study.blocks import AREA, MARGIN, REWARD, START
from boresight.experiments.study.outcomes.block_results import ArmResult, BlockResults
from boresight.experiments.study.outcomes.label_use import CALLS
from boresight.experiments.study.outcomes.questions import AnsweredQuestion, enough_in_words, seeds_in_words
from boresight.experiments.study.plan import StudyPlan
from boresight.reports.by_construction import AT_THE_REFERENCE
from boresight.reports.tables.files import csv_text, pipe_table, plain_text
from boresight.reports.tables.intervals import NOTHING, Cell, constant_cell, interval_cell
from boresight.stats.intervals import Interval
from boresight.stats.units import Unit, unit_named

SECONDS, INFORMATIVE, ROWS, TOKENS = "seconds", "informative_prompts", "training_rows", "trained_tokens"
DIGITS = 9
"""Number of significant digits in the CSV; further digits differ between machines."""


@dataclass(frozen=True)
class ResultCell:
    """A cell of a table: its text `shown`, and the unrounded number (`value`) or interval, if it has one."""

    shown: Cell
    interval: Interval | None = None
    value: float | None = None

    def __str__(self) -> str:
        return f"{self.shown.value} {self.shown.limits}".strip()

    @property
    def numbers(self) -> list[str]:
        """Value, low, high, n and number of missing prompts for the CSV; empty for those that it lacks."""
        i = self.interval
        if i is None:
            return ["" if self.value is None else _digits(self.value), "", "", "", ""]
        return [_digits(i.value), _digits(i.low), _digits(i.high), str(i.n), str(i.missing)]


@dataclass(frozen=True)
class ResultRow:
    """A row of a table. `name` is that of the arm, `group` the title of the arm's group."""

    name: str
    title: str
    group: str
    cells: list[ResultCell | None]


@dataclass(frozen=True)
class ResultTable:
    """One table; `block` is the block's name, empty for the questions."""

    block: str
    head: str
    columns: list[str]
    rows: list[ResultRow]


def questions_table(answered: Sequence[AnsweredQuestion], plan: StudyPlan) -> ResultTable:
    """Return the table of the questions with their verdicts."""
    columns = [
        "verdict",
        "difference",
        "margin",
        "p (Holm)",
        "p (margin)",
        "seeds",
        "topics",
        "would decide",
    ]
    rows = [
        ResultRow(f"{each.planned.to}/{each.planned.of}", each.planned.title, "", _verdict(each))
        for each in answered
    ]
    return ResultTable("", "question", columns, rows)


def _verdict(each: AnsweredQuestion) -> list[ResultCell | None]:
    asked, decision, unit = each.planned, each.decision, unit_named(each.planned.unit)
    margin = _text(unit.difference(asked.margin), asked.margin)
    if decision is None:
        count = len(each.missing)
        waits = plural(count, "file") if count else "the others"
        return [_text("waits for " + waits), None, margin, None, None, None, None, None]
    difference, enough = decision.question.difference, decision.enough
    within = decision.p_equivalent
    return [
        _text(decision.verdict),
        _interval(difference.mean, unit, signed=True, prompts=difference.mean.n),
        margin,
        _p(decision.p),
        None if within is None else _p(within),
        _text(seeds_in_words(asked, difference.seeds)),
        _text(f"{difference.topics:,}", difference.topics) if difference.mean.n > 1 else None,
        None if enough is None else _text(", ".join(enough_in_words(asked, enough))),
    ]


def block_table(found: BlockResults, plan: StudyPlan) -> ResultTable:
    """Return the table of a block: its start model and all arms, also those without results."""
    columns = ["seeds"]
    for metric in found.metrics:
        columns += [metric_label(metric), f"{metric_label(metric)} against the start"]
    columns += ["area", "verifier calls", "informative prompts", "training rows", "trained tokens", "time"]
    rows = [
        ResultRow(a.arm, title_of(plan, found, a), group_of(plan, a), _arm(plan, found, a))
        for a in found.lines
    ]
    return ResultTable(found.name, "arm", columns, rows)


def metric_label(metric: str) -> str:
    """Return the name of a metric as the head of a column."""
    return metric.rsplit(":", 1)[-1].replace("_", " ")


def title_of(plan: StudyPlan, found: BlockResults, arm: ArmResult) -> str:
    """Return the title of an arm. For the start model, this is the title of the arm that trains it, or its
    name."""
    if arm.arm != START:
        return plan.arms[arm.arm].title
    start = plan.arms.get(found.block.start)
    return f"start: {start.title if start else found.block.start}"


def group_of(plan: StudyPlan, arm: ArmResult) -> str:
    """Return the title of an arm's group; empty for the start model."""
    return plan.groups[arm.group].title if arm.group else ""


def metric_unit(found: BlockResults, metric: str) -> Unit:
    """Return the unit of a metric: percentages for shares, nats for margins, no unit for other rewards."""
    return unit_named("share" if metric in found.shares else "nats" if metric == MARGIN else "")


def _arm(plan: StudyPlan, found: BlockResults, arm: ArmResult) -> list[ResultCell | None]:
    cells: list[ResultCell | None] = [_seeds(arm)]
    is_constant = arm.arm == START and _ties_all(arm)
    for metric in found.metrics:
        unit, mean = metric_unit(found, metric), arm.means.get(metric)
        cells += [
            _constant(mean, unit) if is_constant else _interval(mean, unit, prompts=found.prompts),
            _interval(arm.differences.get(metric), unit, signed=True, prompts=found.prompts),
        ]
    trained = arm.arm != START
    is_verified = not trained or plan.arms[arm.arm].rewarded_by is None  # else the area is one of scores
    cells.append(_interval(arm.means.get(AREA) if is_verified else None, metric_unit(found, AREA)))
    for name in (CALLS, INFORMATIVE, ROWS, TOKENS):
        number = arm.number(name) if trained else None
        cells.append(None if number is None else _text(f"{number:,.0f}", number))
    seconds = arm.number(SECONDS) if trained else None
    return [*cells, None if seconds is None else _text(format_duration(seconds), seconds)]


def _ties_all(arm: ArmResult) -> bool:
    """Whether the means show that all pairs are ties, as for a start model that is the reference model."""
    expected = {REWARD: AT_THE_REFERENCE["accuracy"], MARGIN: AT_THE_REFERENCE["margin"]}
    return {name: mean.value for name, mean in arm.means.items() if name in expected} == expected


def _constant(mean: Interval | None, unit: Unit) -> ResultCell | None:
    """Return a cell with a value and no limits, for a value that follows from the construction."""
    shown = constant_cell(mean, unit)
    return None if mean is None or shown is None else ResultCell(shown, value=mean.value)


def _seeds(arm: ArmResult) -> ResultCell:
    """Format the seeds of an arm, as `2 of 4, 1 stopped`, with a note if its intervals omit seed noise."""
    measured = len(arm.files)
    if arm.arm == START:
        return _text("not trained here" if measured else "missing")
    count = f"{measured} of {arm.planned}" + (f", {len(arm.stopped)} stopped" if arm.stopped else "")
    return ResultCell(Cell(count, "intervals over prompts alone" if measured and arm.prompts_only else ""))


def _interval(
    interval: Interval | None, unit: Unit, *, signed: bool = False, prompts: int | None = None
) -> ResultCell | None:
    """Return an interval as a cell, or None without an interval.

    Args:
        prompts: number of prompts in the text above the table; the cell of a mean shows its n if it differs.
            None for a metric with one number per run, for which missing prompts are not shown either.
    """
    if interval is None:
        return None
    if math.isinf(interval.low) and math.isinf(interval.high):
        value = unit.signed(interval.value) if signed else unit.value(interval.value)
        return ResultCell(Cell(value, "no interval"), interval)
    n = prompts is not None and not signed and interval.n != prompts
    return ResultCell(
        interval_cell(interval, unit, signed=signed, n=n, missing=prompts is not None), interval
    )


def _p(p: float) -> ResultCell:
    """Return a p-value as a cell, rounded to three digits, since more depend on a root finder."""
    return _text("< 0.001" if p < 0.001 else f"{p:.2g}", float(f"{p:.3g}"))


def _text(shown: str, value: float | None = None) -> ResultCell:
    return ResultCell(Cell(shown, ""), value=value)


def results_csv_text(tables: Sequence[ResultTable]) -> str:
    """Format tables as CSV, one line per cell: block, row, column, numbers, and the printed text."""
    head = ["block", "name", "title", "column", "value", "low", "high", "n", "missing", "text"]
    rows = [
        [t.block, plain_text(row.name), plain_text(row.title), column, *cell.numbers, plain_text(str(cell))]
        for t in tables
        for row in t.rows
        for column, cell in zip(t.columns, row.cells, strict=True)
        if cell is not None
    ]
    return csv_text(head, rows)


def table_markdown(table: ResultTable) -> str:
    """Format a table as Markdown, without empty columns."""
    used = used_columns(table)
    cells = [
        [row.title, *(NOTHING if row.cells[i] is None else str(row.cells[i]) for i in used)]
        for row in table.rows
    ]
    return pipe_table([table.head, *(table.columns[i] for i in used)], cells)


def used_columns(table: ResultTable) -> list[int]:
    """Return the indices of the columns that have at least one entry."""
    return [i for i in range(len(table.columns)) if any(row.cells[i] is not None for row in table.rows)]


def _digits(x: float) -> str:
    return f"{x:.{DIGITS}g}"
