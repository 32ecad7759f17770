"""Draw curves of a study's arms from the logged numbers, for the page and for files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import escape

from boresight.experiments.study.plan import ArmRun, PlannedFigure, StudyPlan, arm_runs
from boresight.experiments.study.storage import Study
from boresight.reports.drawing.plot import DASHES, STYLE, Plot, PlotLine, svg_text
from boresight.reports.drawing.scales import PlotScale, scale_of
from boresight.reports.figures import STEPS, points
from boresight.reports.read_run import read_run

WIDTH, MARGIN = 480, 12
COLORS = {
    "tuned": ("run-1", "run-3", "run-4"),
    "published": ("run-2", "run-5", "run-6"),
    "other": ("run-4", "run-3"),
}
"""Color names by role: blue for tuned arms, orange for published ones in every figure, then further
colors."""


@dataclass(frozen=True)
class SeedLine:
    """The curve of one run, an arm with one seed: steps `x` and values `y`."""

    x: list[int]
    y: list[float]


@dataclass(frozen=True)
class ArmCurve:
    """The curve of one arm: a color, a dash (`solid`, `dash` or `dot`), and one line per seed."""

    label: str
    color: str
    lines: list[SeedLine]
    dash: str = "solid"


@dataclass(frozen=True)
class DrawnFigure:
    """A figure with its data; `missing` are the titles of arms that have no values."""

    name: str
    figure: PlannedFigure
    curves: list[ArmCurve]
    missing: list[str]
    x_axis: str = STEPS

    @property
    def legend(self) -> list[dict[str, str]]:
        """Labels and colors for the legend of the page."""
        return [{"label": c.label, "color": c.color, "dash": c.dash} for c in self.curves]

    @property
    def plot(self) -> Plot:
        """The figure as a plot."""
        return study_plot(self.figure, self.curves, self.x_axis)


def study_figures(study: Study) -> list[DrawnFigure]:
    """Draw the figures of the plan, without those for which no arm has values."""
    found = [_draw(study, name, figure) for name, figure in study.plan.figures.items()]
    return [figure for figure in found if figure.curves]


def _draw(study: Study, name: str, figure: PlannedFigure) -> DrawnFigure:
    colors = colors_of(study.plan, figure.arms)
    curves, missing = [], []
    for arm in figure.arms:
        title = study.plan.arms[arm].title
        lines = [
            line
            for run in arm_runs(study.plan)
            if run.arm == arm and study.was_trained(run) and (line := _line(study, run, figure)).x
        ]
        if lines:
            curves.append(ArmCurve(title, colors[arm], lines))
        else:
            missing.append(title)
    return DrawnFigure(name, figure, curves, missing)


def _line(study: Study, run: ArmRun, figure: PlannedFigure) -> SeedLine:
    data = read_run(study.run_folder(run))
    return SeedLine(*points(data.train if figure.split == "train" else data.eval, figure.metric))


def colors_of(plan: StudyPlan, arms: Sequence[str]) -> dict[str, str]:
    """Return the color of each arm: the next one of its role."""
    used = dict.fromkeys(COLORS, 0)
    found = {}
    for arm in arms:
        role = plan.arms[arm].role
        found[arm] = COLORS[role][used[role] % len(COLORS[role])]
        used[role] += 1
    return found


def study_plot(figure: PlannedFigure, curves: Sequence[ArmCurve], x_axis: str = STEPS) -> Plot:
    """Plot curves and a horizontal guide: faint lines for the logged values, a strong one for their mean.

    The mean over seeds is smoothed over neighboring steps for training values. Evaluations are not smoothed,
    since they are few and each is a mean over many rows.
    """
    guide = (figure.guide.at, figure.guide.label) if figure.guide else None
    lines = [line for curve in curves for line in curve.lines]
    heights = [y for line in lines for y in line.y] + ([guide[0]] if guide else [])
    last = max(1, *(x for line in lines for x in line.x))
    return Plot(
        title=figure.title,
        x_axis=x_axis,
        y_axis=", ".join(filter(None, (figure.metric.replace("_", " "), figure.unit))),
        x=PlotScale(0, 1.02 * last, is_whole=True),
        y=scale_of(heights),
        lines=[drawn for curve in curves for drawn in _drawn_lines(curve, figure.split == "train")],
        guide=guide,
    )


def _drawn_lines(curve: ArmCurve, is_noisy: bool) -> list[PlotLine]:
    x, y = mean_line(curve.lines)
    strong = smoothed(y) if is_noisy else y
    mean = PlotLine(curve.label, curve.color, x, strong, curve.dash)
    if len(curve.lines) == 1 and strong == y:
        return [mean]
    seeds = [
        PlotLine(curve.label, curve.color, line.x, line.y, curve.dash, is_faint=True) for line in curve.lines
    ]
    return [*seeds, mean]


def mean_line(lines: Sequence[SeedLine]) -> tuple[list[int], list[float]]:
    """Return the steps that all lines have, and the mean of the lines at these steps."""
    tables = [dict(zip(line.x, line.y, strict=True)) for line in lines]
    steps = [step for step in tables[0] if all(step in table for table in tables)]
    return steps, [sum(table[step] for table in tables) / len(tables) for step in steps]


def smoothed(y: Sequence[float]) -> list[float]:
    """Smooth values by a moving average over about a sixth of the points; 12 points or fewer stay unchanged.

    Values of small batches are noisy, and the figures are meant to show trends of a hundredth of a nat.
    """
    if len(y) <= 12:
        return list(y)
    reach = len(y) // 12
    windows = (y[max(0, i - reach) : i + reach + 1] for i in range(len(y)))
    return [sum(window) / len(window) for window in windows]


def standalone(d: DrawnFigure) -> str:
    """Render the figure as an SVG file with its title and legend, in the reader's light or dark mode."""
    legend, y = [], 44 + d.plot.height
    for curve in d.curves:
        dashes = f";stroke-dasharray:{DASHES[curve.dash]}" if DASHES[curve.dash] else ""
        style = f"stroke:var(--{curve.color});stroke-width:2.5{dashes}"
        legend.append(f'<path d="M{MARGIN} {y}h26" style="{style}"/>')
        legend.append(svg_text(MARGIN + 34, y + 4, curve.label, "start"))
        y += 20
    title = f'<text x="{MARGIN}" y="24" style="fill:var(--ink);font-size:14px;font-weight:600">'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" '
        f'font-family="system-ui, sans-serif"><title>{escape(d.figure.title)}</title><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" style="fill:var(--card)"/>{title}{escape(d.figure.title)}</text>'
        f'<svg y="34" width="{WIDTH}" height="{d.plot.height}">{d.plot.fixed(WIDTH)}</svg>'
        f"{''.join(legend)}</svg>\n"
    )
