"""Draw forest plots: differences with their intervals on one scale, grouped, with the margin of equivalence.

The colors are those of the study's figures: better blue, worse orange, equivalent green, all others gray.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
CHARACTER, BOLD_CHARACTER, GAP, LEAST = 6.6, 7.3, 28, 300
"""Sizes in pixels: width of a character, width of a bold character, space beside names and numbers, minimum
width of the axis."""
AIR = 0.04
"""Free space at each end of the axis, as a share of the range of the values."""
COLORS = {"better": "run-1", "worse": "run-2", "equivalent": "run-3", "not worse": "run-3"}
UNDECIDED = "muted"


@dataclass(frozen=True)
class ForestRow:
    """One row: a difference with its interval, and a verdict, which sets the color.

    `margin`, if any, is drawn as a band from -margin to margin.
    """

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
class Frame:
    """Width and axis of a plot.

    `width`, `left` and `right` are in pixels; `low` and `high` are the values at the two ends of the axis.
    """

    width: float
    left: float
    right: float
    low: float
    high: float

    def across(self, x: float) -> float:
        """Return the horizontal position of a value in pixels; values beyond the axis are put at its end."""
        share = (min(self.high, max(self.low, x)) - self.low) / (self.high - self.low)
        return self.left + share * (self.right - self.left)


@dataclass(frozen=True)
class Forest:
    """A forest plot. Values are not yet multiplied by the factor of `unit`."""

    title: str
    groups: Sequence[ForestGroup]
    unit: Unit
    frame: Frame | None = None
    """Position and range of the axis; None for a range that fits the rows."""

    @property
    def svg(self) -> str:
        """The plot as SVG, for a page that defines the colors and shows the title as a heading."""
        body, width, height = self._body()
        head = f'<svg class="forest" viewBox="0 {HEAD - 8} {width:g} {height - HEAD + 8:g}" role="img">'
        return f"{head}<title>{escape(self.title)}</title>{body}</svg>"

    @property
    def file(self) -> str:
        """The plot as an SVG file with its title, in the reader's light or dark mode."""
        body, width, height = self._body()
        heading = '<text x="12" y="20" style="fill:var(--ink);font-size:14px;font-weight:600">'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
            f'font-family="system-ui, sans-serif"><title>{escape(self.title)}</title><style>{STYLE}</style>'
            f'<rect width="100%" height="100%" style="fill:var(--card)"/>{heading}{escape(self.title)}</text>'
            f"{body}</svg>\n"
        )

    @property
    def rows(self) -> list[ForestRow]:
        """The rows of all groups."""
        return [row for group in self.groups for row in group.rows]

    def _body(self) -> tuple[str, float, float]:
        """Return the SVG elements of the plot, and its width and height in pixels."""
        if not self.rows:
            raise ValueError("a forest plot needs at least one row")
        frame = self.frame or frame_around([self])
        body, height = _drawn_rows([group for group in self.groups if group.rows], frame, self.unit)
        return body, frame.width, height


def frame_around(forests: Sequence[Forest]) -> Frame:
    """Return an axis that fits the names, numbers, limits and margins of all plots, and zero."""
    rows = [row for forest in forests for row in forest.rows]
    titles = [BOLD_CHARACTER * len(group.title) for forest in forests for group in forest.groups]
    labels = [CHARACTER * len(row.label) for row in rows]
    numbers = [CHARACTER * len(_numbers(row, forest.unit)) for forest in forests for row in forest.rows]
    ends = [x for row in rows for x in (row.interval.value, row.interval.low, row.interval.high)]
    margins = [sign * row.margin for row in rows if row.margin is not None for sign in (-1, 1)]
    known = [0.0, *(x for x in (*ends, *margins) if math.isfinite(x))]
    low, high = min(known), max(known)
    air = AIR * (high - low) or 1.0
    left, beside = GAP + max(*titles, *labels), GAP + max(numbers)
    width = max(WIDTH, left + LEAST + beside)
    return Frame(width, left, width - beside, low - air, high + air)


def on_one_scale(forests: Sequence[Forest | None], tests: Sequence[str]) -> list[Forest | None]:
    """Give plots with the same unit and the same test data a common axis, so that lengths can be compared.

    Args:
        tests: source of the test data of each plot. Differences on different test data are not comparable.
    """
    alike: dict[tuple[Unit, str], list[Forest]] = {}
    for forest, test in zip(forests, tests, strict=True):
        if forest is not None:
            alike.setdefault((forest.unit, test), []).append(forest)
    frames = {key: frame_around(group) for key, group in alike.items()}
    return [
        forest and replace(forest, frame=frames[forest.unit, test])
        for forest, test in zip(forests, tests, strict=True)
    ]


def _drawn_rows(groups: Sequence[ForestGroup], frame: Frame, unit: Unit) -> tuple[str, float]:
    """Return the SVG elements of axis and rows, and the height in pixels.

    Limits beyond the axis are cut at its end and drawn as an arrow.
    """
    rows = sum(len(group.rows) for group in groups)
    height = HEAD + ROW * (rows + sum(bool(group.title) for group in groups)) + FOOT
    parts, y = [_axis(frame, height, unit)], HEAD + ROW / 2
    for group in groups:
        if group.title:
            parts.append(svg_text(12, y + 4, group.title, "start", "ink", more="font-weight:600"))
            y += ROW
        for row in group.rows:
            parts.append(_drawn(row, y, frame, unit))
            y += ROW
    return "".join(parts), height


def questions_forest(plan: StudyPlan, answered: Sequence[AnsweredQuestion]) -> Forest | None:
    """Return the plot of a plan's questions, one group for each; None until they are decided.

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
    """Return the plot of each arm's reward minus that of the start model, by group of the plan.

    None if no arm of the block has a difference yet.
    """
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
    return ForestRow(label, decision.question.difference.mean, decision.verdict, asked.margin)


def _axis(frame: Frame, height: float, unit: Unit) -> str:
    """Draw lines at round numbers, a darker line at zero, and the unit below them."""
    marks = ticks(frame.low * unit.factor, frame.high * unit.factor)
    parts = []
    for mark, number in zip(marks, tick_texts(marks), strict=True):
        x, color = frame.across(mark / unit.factor), "guide" if mark == 0 else "grid"
        parts.append(f'<path d="M{x:.1f} {HEAD}V{height - FOOT + 6:.1f}" style="stroke:var(--{color})"/>')
        parts.append(svg_text(x, height - FOOT + 22, number, "middle"))
    name = unit.difference_suffix
    return "".join(parts) + (svg_text(frame.across(0), height - 6, name, "middle") if name else "")


def _numbers(row: ForestRow, unit: Unit) -> str:
    """Format the difference, limits and verdict of a row."""
    return f"{unit.change(row.interval)} {row.verdict}".strip().replace("-", "\N{MINUS SIGN}")


def _drawn(row: ForestRow, y: float, frame: Frame, unit: Unit) -> str:
    """Draw the name, margin, interval, point and numbers of a row at the height `y`, in pixels."""
    color, i, across = COLORS.get(row.verdict.partition(",")[0], UNDECIDED), row.interval, frame.across
    parts = [svg_text(24, y + 4, row.label, "start", "ink")]
    if row.margin is not None:
        left, right = across(-row.margin), across(row.margin)
        size = f'width="{right - left:.1f}" height="{ROW - 8}"'
        band = 'style="fill:var(--grid);opacity:0.6"'
        parts.append(f'<rect x="{left:.1f}" y="{y - ROW / 2 + 4:.1f}" {size} {band}/>')
    line = f"stroke:var(--{color});stroke-width:2"
    parts.append(f'<path d="M{across(i.low):.1f} {y:.1f}H{across(i.high):.1f}" style="{line}"/>')
    for end, sign, is_beyond in ((i.low, -1, i.low < frame.low), (i.high, 1, i.high > frame.high)):
        if is_beyond:
            x = across(end)
            parts.append(f'<path d="M{x - 6 * sign:.1f} {y - 4:.1f}L{x:.1f} {y:.1f}L{x - 6 * sign:.1f} '
                         f'{y + 4:.1f}" style="{line}" fill="none"/>')  # fmt: skip
    parts.append(f'<circle cx="{across(i.value):.1f}" cy="{y:.1f}" r="4" style="fill:var(--{color})"/>')
    return "".join(parts) + svg_text(frame.width - 12, y + 4, _numbers(row, unit), "end", "ink")
