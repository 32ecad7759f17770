"""A forest plot: differences with their intervals on one scale, grouped, with the margin of equivalence.

The drawing has the colors of the study's figures: better blue, worse orange, equivalent green, the rest gray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import escape

from boresight.core.errors import UserError
from boresight.experiments.study.blocks import REWARD, START, PlannedQuestion
from boresight.experiments.study.outcomes.block_results import ArmResult, BlockResults
from boresight.experiments.study.outcomes.questions import AnsweredQuestion
from boresight.experiments.study.plan import StudyPlan
from boresight.experiments.study.report.result_tables import metric_unit
from boresight.reports.drawing.plot import STYLE, svg_text
from boresight.reports.drawing.scales import tick_texts, ticks
from boresight.stats.confirmatory import Decision
from boresight.stats.intervals import Interval
from boresight.stats.units import Unit, unit_named

WIDTH, ROW, HEAD, FOOT = 900, 26, 30, 44
LEFT, RIGHT = 310, 260
"""Room for the names, and for the numbers."""
AIR = 1.08
COLORS = {"better": "run-1", "worse": "run-2", "equivalent": "run-3", "not worse": "run-3"}
UNDECIDED = "muted"


@dataclass(frozen=True)
class ForestRow:
    """One difference: its name, its interval, and the verdict that colors it. `margin` is drawn as a band."""

    label: str
    interval: Interval
    verdict: str
    margin: float | None = None


@dataclass(frozen=True)
class ForestGroup:
    """Rows under a heading, such as the question that they answer."""

    title: str
    rows: Sequence[ForestRow]


@dataclass(frozen=True)
class Forest:
    """A plot ready for page and file. Values are not yet multiplied by the factor of `unit`.

    The axis goes from `-reach` to `reach`; without `reach` it covers the rows.
    """

    title: str
    groups: Sequence[ForestGroup]
    unit: Unit
    reach: float | None = None

    @property
    def svg(self) -> str:
        """The plot as SVG, for a page that defines the colors and shows the title as a heading."""
        body, height = self._body()
        head = f'<svg class="forest" viewBox="0 {HEAD - 8} {WIDTH} {height - HEAD + 8:g}" role="img">'
        return f"{head}<title>{escape(self.title)}</title>{body}</svg>"

    @property
    def file(self) -> str:
        """The drawing as a file, in the reader's light or dark mode."""
        body, height = self._body()
        heading = '<text x="12" y="20" style="fill:var(--ink);font-size:14px;font-weight:600">'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
            f'font-family="system-ui, sans-serif"><title>{escape(self.title)}</title><style>{STYLE}</style>'
            f'<rect width="100%" height="100%" style="fill:var(--card)"/>{heading}{escape(self.title)}</text>'
            f"{body}</svg>\n"
        )

    @property
    def rows(self) -> list[ForestRow]:
        """The rows of all groups."""
        return [row for group in self.groups for row in group.rows]

    def _body(self) -> tuple[str, float]:
        if not self.rows:
            raise ValueError("a forest plot needs at least one row")
        reach = _reach(self.rows) if self.reach is None else self.reach
        return _drawn_rows([group for group in self.groups if group.rows], reach * AIR, self.unit)


def on_one_scale(forests: Sequence[Forest | None]) -> list[Forest | None]:
    """The plots with a common axis for those of one unit, so that lengths can be compared between plots."""
    rows: dict[Unit, list[ForestRow]] = {}
    for forest in filter(None, forests):
        rows.setdefault(forest.unit, []).extend(forest.rows)
    return [forest and replace(forest, reach=_reach(rows[forest.unit])) for forest in forests]


def _drawn_rows(groups: Sequence[ForestGroup], reach: float, unit: Unit) -> tuple[str, float]:
    """Axis and rows, and the height. Limits beyond the scale are cut at its edge and end in an arrow."""
    rows = sum(len(group.rows) for group in groups)

    def across(x: float) -> float:
        return LEFT + (min(reach, max(-reach, x)) + reach) / (2 * reach) * (WIDTH - LEFT - RIGHT)

    height = HEAD + ROW * (rows + sum(bool(group.title) for group in groups)) + FOOT
    parts, y = [_axis(reach, height, across, unit)], HEAD + ROW / 2
    for group in groups:
        if group.title:
            parts.append(svg_text(12, y + 4, group.title, "start", more="font-weight:600"))
            y += ROW
        for row in group.rows:
            parts.append(_drawn(row, y, across, reach, unit))
            y += ROW
    return "".join(parts), height


def questions_forest(plan: StudyPlan, answered: Sequence[AnsweredQuestion]) -> Forest | None:
    """The plot of a plan's questions, a group for each; None until they are decided.

    Raises:
        UserError: the questions have several units, which one scale cannot show.
    """
    units = {each.planned.unit for each in answered}
    if len(units) > 1:
        raise UserError(f"questions: one plot cannot show the units {', '.join(sorted(units))} on one scale.")
    titles = {name: arm.title for name, arm in plan.arms.items()} | {START: "the start model"}
    groups = [
        ForestGroup(each.planned.title, [_row(each.planned, each.decision, titles)])
        for each in answered
        if each.decision is not None
    ]
    return Forest(plan.title, groups, unit_named(units.pop())) if groups else None


def arms_forest(plan: StudyPlan, found: BlockResults) -> Forest | None:
    """Reward of every arm of a block against its start, by the plan's groups; None without a difference."""
    groups = [
        ForestGroup(group.title, rows)
        for name, group in plan.groups.items()
        if (
            rows := [_against_start(plan, arm) for arm in found.arms if arm.group == name and arm.differences]
        )
    ]
    title = f"{found.block.title}: reward against the start"
    return Forest(title, groups, metric_unit(found, REWARD)) if groups else None


def _against_start(plan: StudyPlan, arm: ArmResult) -> ForestRow:
    return ForestRow(plan.arms[arm.arm].title, arm.differences[REWARD], "")


def _row(asked: PlannedQuestion, decision: Decision, titles: Mapping[str, str]) -> ForestRow:
    label = f"{titles[asked.to]} against {titles[asked.of]}"
    return ForestRow(label, decision.question.difference.mean, decision.answer, asked.margin)


def _reach(rows: Sequence[ForestRow]) -> float:
    """The largest number to be seen, either side of zero: limits and margins that are finite."""
    ends = [abs(x) for row in rows for x in (row.interval.value, row.interval.low, row.interval.high)]
    margins = [row.margin for row in rows if row.margin is not None]
    return max([x for x in (*ends, *margins) if math.isfinite(x)], default=0.0) or 1.0


def _axis(reach: float, height: float, across: Callable[[float], float], unit: Unit) -> str:
    """Lines at round numbers, a darker one at zero, and the unit below."""
    marks = ticks(-reach * unit.factor, reach * unit.factor)
    parts = []
    for mark, number in zip(marks, tick_texts(marks), strict=True):
        x, color = across(mark / unit.factor), "guide" if mark == 0 else "grid"
        parts.append(f'<path d="M{x:.1f} {HEAD}V{height - FOOT + 6:.1f}" style="stroke:var(--{color})"/>')
        parts.append(svg_text(x, height - FOOT + 22, number, "middle"))
    name = unit.difference_suffix
    return "".join(parts) + (svg_text(across(0), height - 6, name, "middle") if name else "")


def _drawn(row: ForestRow, y: float, across: Callable[[float], float], reach: float, unit: Unit) -> str:
    """Name, margin, interval, point and numbers of a row."""
    color, i = COLORS.get(row.verdict, UNDECIDED), row.interval
    parts = [svg_text(24, y + 4, row.label, "start")]
    if row.margin is not None:
        left, right = across(-row.margin), across(row.margin)
        size = f'width="{right - left:.1f}" height="{ROW - 8}"'
        band = 'style="fill:var(--grid);opacity:0.6"'
        parts.append(f'<rect x="{left:.1f}" y="{y - ROW / 2 + 4:.1f}" {size} {band}/>')
    line = f"stroke:var(--{color});stroke-width:2"
    parts.append(f'<path d="M{across(i.low):.1f} {y:.1f}H{across(i.high):.1f}" style="{line}"/>')
    for end, sign in ((i.low, -1), (i.high, 1)):
        if abs(end) > reach:
            x = across(end)
            parts.append(f'<path d="M{x - 6 * sign:.1f} {y - 4:.1f}L{x:.1f} {y:.1f}L{x - 6 * sign:.1f} '
                         f'{y + 4:.1f}" style="{line}" fill="none"/>')  # fmt: skip
    parts.append(f'<circle cx="{across(i.value):.1f}" cy="{y:.1f}" r="4" style="fill:var(--{color})"/>')
    numbers = f"{unit.change(i)} {row.verdict}".strip().replace("-", "\N{MINUS SIGN}")
    return "".join(parts) + svg_text(WIDTH - 12, y + 4, numbers, "end")
