"""Curves as SVG, drawn from the logged numbers, for the page and for files.

Colours are variables of the page's style sheet, so that a figure is light or dark with its page. A file
defines them itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import escape

from boresight.experiments.study.plan import ArmRun, PlannedFigure, StudyPlan, arm_runs
from boresight.experiments.study.storage import Study
from boresight.reports.figures import points
from boresight.reports.read_run import read_run

Scale = Callable[[float], float]
"""From a step or a value to a place on the drawing."""

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 220, 52, 10, 12, 26
COLOURS = {
    "tuned": ("run-1", "run-3", "run-4"),
    "published": ("run-2", "run-5", "run-6"),
    "other": ("run-4", "run-3"),
}
"""What is tuned is blue and what is published orange in every figure, then further colours."""
DASHES = {"solid": "", "dash": ";stroke-dasharray:7 4", "dot": ";stroke-dasharray:2 3"}
STYLE = (
    ":root{--ink:#1c1e22;--muted:#6a6d75;--grid:#e5e2dc;--card:#fff;--guide:#8f8b83;--run-1:#2456c8;"
    "--run-2:#d9730d;--run-3:#0c8063;--run-4:#a03aa8;--run-5:#8a6d00;--run-6:#c01f4e}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e6e1;--muted:#989ba4;--grid:#2c3038;--card:#1a1d22;"
    "--guide:#7b808b;--run-1:#7da6ff;--run-2:#f4a14e;--run-3:#4cc79c;--run-4:#dc8be2;--run-5:#d6bd52;"
    "--run-6:#ff86a5}}"
)


@dataclass(frozen=True)
class SeedLine:
    """One arm with one seed: its steps and values."""

    x: list[int]
    y: list[float]


@dataclass(frozen=True)
class ArmCurve:
    """One arm: a colour and a dash, `solid`, `dash` or `dot`, and one line per seed."""

    label: str
    colour: str
    lines: list[SeedLine]
    dash: str = "solid"


@dataclass(frozen=True)
class DrawnFigure:
    """One figure ready for page and file; `missing` names arms that have not been trained."""

    name: str
    figure: PlannedFigure
    curves: list[ArmCurve]
    missing: list[str]

    @property
    def legend(self) -> list[dict[str, str]]:
        """Labels and colours for the legend of the page."""
        return [{"label": c.label, "colour": c.colour, "dash": c.dash} for c in self.curves]

    @property
    def svg(self) -> str:
        """The drawing for a page that defines the colours."""
        head = f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" width="100%">'
        return f"{head}<title>{escape(self.figure.title)}</title>{plot(self.figure, self.curves)}</svg>"


def study_figures(study: Study) -> list[DrawnFigure]:
    """Figures of the plan for which at least one arm has numbers."""
    found = [_draw(study, name, figure) for name, figure in study.plan.figures.items()]
    return [figure for figure in found if figure.curves]


def _draw(study: Study, name: str, figure: PlannedFigure) -> DrawnFigure:
    colours = colours_of(study.plan, figure.arms)
    curves, missing = [], []
    for arm in figure.arms:
        title = study.plan.arms[arm].title
        lines = [
            line
            for run in arm_runs(study.plan)
            if run.arm == arm and study.is_here(run) and (line := _line(study, run, figure)).x
        ]
        if lines:
            curves.append(ArmCurve(title, colours[arm], lines))
        else:
            missing.append(title)
    return DrawnFigure(name, figure, curves, missing)


def _line(study: Study, run: ArmRun, figure: PlannedFigure) -> SeedLine:
    data = read_run(study.run_folder(run))
    return SeedLine(*points(data.train if figure.split == "train" else data.eval, figure.metric))


def colours_of(plan: StudyPlan, arms: Sequence[str]) -> dict[str, str]:
    """A colour for each arm: by role, in order."""
    used = dict.fromkeys(COLOURS, 0)
    found = {}
    for arm in arms:
        role = plan.arms[arm].role
        found[arm] = COLOURS[role][used[role] % len(COLOURS[role])]
        used[role] += 1
    return found


def plot(figure: PlannedFigure, curves: Sequence[ArmCurve]) -> str:
    """Axes, guide and curves: logged values faint, the mean over seeds strong.

    In training it is over neighboring steps too; evaluations are few and measured well.
    """
    lines = [line for curve in curves for line in curve.lines]
    guide = figure.guide
    heights = [y for line in lines for y in line.y] + ([guide.at] if guide else [])
    low, high = _with_air(min(heights), max(heights))
    last = max(max(line.x) for line in lines)

    def across(step: float) -> float:
        return LEFT + step / max(1, last) * (WIDTH - LEFT - RIGHT)

    def down(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [_axes(low, high, last, across, down)]
    if guide:
        parts.append(_rule(down(guide.at), "var(--guide)", 'stroke-dasharray="5 4"'))
        parts.append(svg_text(WIDTH - RIGHT, down(guide.at) - 4, guide.label, "end"))
    for curve in curves:
        x, y = mean_line(curve.lines)
        strong = smoothed(y) if figure.split == "train" else y
        if len(curve.lines) > 1 or strong != y:
            parts += [_path(line.x, line.y, curve, across, down, 0.28) for line in curve.lines]
        parts.append(_path(x, strong, curve, across, down))
    return "".join(parts)


def mean_line(lines: Sequence[SeedLine]) -> tuple[list[int], list[float]]:
    """The mean over seeds at the steps that all of them have."""
    tables = [dict(zip(line.x, line.y, strict=True)) for line in lines]
    steps = [step for step in tables[0] if all(step in table for table in tables)]
    return steps, [sum(table[step] for table in tables) / len(tables) for step in steps]


def smoothed(y: Sequence[float]) -> list[float]:
    """Means over about a sixth of the points around each; a dozen points or fewer stay as they are.

    Small batches are noisy, and a trend of a hundredth of a nat is what these figures are about.
    """
    if len(y) <= 12:
        return list(y)
    reach = len(y) // 12
    windows = (y[max(0, i - reach) : i + reach + 1] for i in range(len(y)))
    return [sum(window) / len(window) for window in windows]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from low to high, at most `most` of them apart from rounding."""
    rough = (high - low) / most
    scale = 10 ** math.floor(math.log10(rough))
    step = next(scale * k for k in (1, 2, 2.5, 5, 10) if scale * k >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _with_air(low: float, high: float) -> tuple[float, float]:
    air = 0.06 * (high - low) or max(abs(high), 1e-3) * 0.05
    return low - air, high + air


def _axes(low: float, high: float, last: int, across: Scale, down: Scale) -> str:
    parts = []
    marks = ticks(low, high)
    digits = _digits(marks)
    for mark in marks:
        parts.append(_rule(down(mark), "var(--grid)"))
        parts.append(svg_text(LEFT - 7, down(mark) + 4, _number(mark, digits), "end"))
    parts += [svg_text(across(step), HEIGHT - 8, f"{step:,.10g}", "middle") for step in ticks(0, last)]
    return "".join(parts)


def _digits(marks: Sequence[float]) -> int:
    return decimals(min((b - a for a, b in pairwise(marks)), default=1.0))


def decimals(gap: float) -> int:
    """Decimals that tell numbers apart that are a round `gap` away from each other."""
    return max(0, math.ceil(-math.log10(gap) - 1e-9) + (f"{gap:e}"[0:3] == "2.5"))


def _number(x: float, digits: int) -> str:
    return f"{x:.{digits}f}".replace("-", "−")


def _rule(y: float, colour: str, more: str = "") -> str:
    return f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" style="stroke:{colour}" fill="none" {more}/>'


def _path(
    x: Sequence[float], y: Sequence[float], curve: ArmCurve, across: Scale, down: Scale, opacity: float = 1.0
) -> str:
    dots = " ".join(f"{across(a):.1f},{down(b):.1f}" for a, b in zip(x, y, strict=True))
    style = f"stroke:var(--{curve.colour});stroke-width:2;opacity:{opacity:g}{DASHES[curve.dash]}"
    return f'<polyline points="{dots}" style="{style}" fill="none" stroke-linejoin="round"/>'


def svg_text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    """Words as a text element, escaped; `anchor` is `start`, `middle` or `end`."""
    style = "fill:var(--muted);font-size:12.5px"
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {at} style="{style}" {more}>{escape(words)}</text>'


def standalone(d: DrawnFigure) -> str:
    """The figure as a file: title and legend inside, light or dark as the reader's system is."""
    legend, y = [], 50 + HEIGHT
    for curve in d.curves:
        style = f"stroke:var(--{curve.colour});stroke-width:2.5{DASHES[curve.dash]}"
        legend.append(f'<path d="M{LEFT} {y}h26" style="{style}"/>')
        legend.append(svg_text(LEFT + 34, y + 4, curve.label, "start"))
        y += 20
    unit = f" ({d.figure.unit})" if d.figure.unit else ""
    title = '<text x="12" y="24" style="fill:var(--ink);font-size:14px;font-weight:600">'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" '
        f'font-family="system-ui, sans-serif"><title>{escape(d.figure.title)}</title><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" style="fill:var(--card)"/>{title}'
        f"{escape(d.figure.title)}{escape(unit)}</text>"
        f'<g transform="translate(0 34)">{plot(d.figure, d.curves)}</g>{"".join(legend)}</svg>\n'
    )
