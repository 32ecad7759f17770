"""Draw the figures of a page: those of one run, or of several runs on the same axes.

Logged metrics without a chart in `charts` get a plain one, so that everything logged is shown.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeGuard

from boresight.core.wording import percent
from boresight.findings.history import is_usable
from boresight.reports.charts import CHARTS, NOT_ALONE, Chart, Curve, both
from boresight.reports.drawing.plot import Plot, PlotBand, PlotLine
from boresight.reports.drawing.scales import PlotScale, scale_of
from boresight.reports.facts import method_settings
from boresight.reports.read_run import LogLine, RunData
from boresight.reports.sample_sizes import held_out_count, held_out_size, sample_sizes
from boresight.stats.intervals import clopper_pearson

MOST_POINTS = 600
"""Maximum number of points of a curve, which is more than the width of a page has pixels."""
ROUNDING = 0.002
"""Maximum difference, in nats, between a loss and a known initial value such as ln 2, due to half
precision."""
STEPS = "optimizer step"


@dataclass(frozen=True)
class Figure:
    """One plot with the heading, legend and caption that a page writes around it."""

    title: str
    unit: str
    reading: str
    legend: list[dict[str, str]]
    plot: Plot


def figures(run: RunData) -> list[Figure]:
    """Return a figure for every chart that the run has numbers for, in reading order."""
    drawn = (_draw(run, chart) for chart in [*CHARTS, *_unnamed(run)])
    return [figure for figure in drawn if figure is not None]


def overlaid(runs: Sequence[RunData]) -> list[Figure]:
    """Return the charts of several runs, with one curve per run.

    A curve has the held-out values of the run or, without any, its training values.
    """
    last = max((run.last_step for run in runs), default=1)
    charts = dict.fromkeys(chart for run in runs for chart in [*CHARTS, *_unnamed(run)])
    found = [
        _overlay(runs, chart, metric, unit, last)
        for chart in charts
        for metric in dict.fromkeys(curve.metric for curve in chart.curves)
        for unit in dict.fromkeys(unit_of(run, chart) for run in runs)
    ]
    return [figure for figure in found if figure is not None]


def unit_of(run: RunData, chart: Chart) -> str:
    """Return the unit of a chart for one run, such as nats for the loss of DPO."""
    settings = method_settings(run) if chart.unit_from else None
    return chart.unit if settings is None else getattr(settings, chart.unit_from)


def _overlay(runs: Sequence[RunData], chart: Chart, metric: str, unit: str, last_step: int) -> Figure | None:
    """Draw one metric of the runs whose chart has this `unit`; None if none of these runs has the metric."""
    lines: list[PlotLine] = []
    for number, run in enumerate(runs, start=1):
        if unit_of(run, chart) == unit:
            curve = Curve(metric, run.name, run_color(number))
            lines += _held_out(run, curve, chart) or _trained(run.train, curve)
    if not lines:
        return None
    alike = [run for run in runs if unit_of(run, chart) == unit]
    title = _overlay_title(chart, metric)
    plot = _plot(chart, title, unit, lines, last_step)
    return Figure(title, unit, _overlay_caption(alike, chart, metric, lines), legend_of(lines), plot)


def _overlay_title(chart: Chart, metric: str) -> str:
    """Return the chart's title, with the label of the metric if the chart has several metrics."""
    if len({curve.metric for curve in chart.curves}) == 1:
        return chart.title
    label = next(curve.label for curve in chart.curves if curve.metric == metric)
    return f"{chart.title}: {label.split(',')[0]}"


def _overlay_caption(runs: Sequence[RunData], chart: Chart, metric: str, lines: Sequence[PlotLine]) -> str:
    """Return the caption: which rows the values are means of, n, and the meaning of bars and thin lines."""
    held_out = [run for run in runs if points(run.eval, metric)[0]]
    trained = [run for run in runs if run not in held_out and points(run.train, metric)[0]]
    sizes = " or ".join(dict.fromkeys(filter(None, (held_out_size(run, metric) for run in held_out))))
    sentences = [f"Held out, n = {sizes}." if sizes else "Held out."] if held_out else []
    if any(line.low for line in lines):
        sentences.append("Bars are 95 % intervals.")
    if chart.is_of_rows and trained:
        sentences.append(
            "Training batches where there are no held-out rows." if held_out else "Training batches."
        )
    if any(line.is_faint for line in lines):
        sentences.append("Thin lines are single steps, thick ones their moving average.")
    return " ".join(sentences)


def run_color(number: int) -> str:
    """Return the name of the color of run `number`, from 1; the six colors are repeated."""
    return f"run-{(number - 1) % 6 + 1}"


def legend_of(lines: Sequence[PlotLine]) -> list[dict[str, str]]:
    """Return a legend entry for each curve that is not faint, once per label."""
    shown = {line.label: line for line in lines if not line.is_faint}
    return [{"label": line.label, "color": line.color, "dash": line.dash} for line in shown.values()]


def _draw(run: RunData, chart: Chart) -> Figure | None:
    lines: list[PlotLine] = []
    for curve in chart.curves:
        lines += _held_out(run, curve, chart) if curve.split == "eval" else _trained(run.train, curve)
    if not lines:
        return None
    unit = unit_of(run, chart)
    plot = _plot(chart, chart.title, unit, lines, run.last_step, run)
    return Figure(chart.title, unit, _caption(run, chart), legend_of(lines), plot)


def _plot(
    chart: Chart, title: str, unit: str, lines: list[PlotLine], last_step: int, run: RunData | None = None
) -> Plot:
    """Draw the curves on axes that all charts share; given a run, also its band, guide and findings."""
    band = _band(run, chart) if run else None
    guide = _guides(run).get(chart.guide or "") if run else None
    heights = [y for line in lines for y in (*line.y, *line.low, *line.high)]
    heights += [*band.low, *band.high] if band else []
    heights += [guide[0]] if guide else []
    steps = max(last_step, *(step for line in lines for step in line.x), 1)
    return Plot(
        title=title,
        x_axis=STEPS,
        y_axis=unit,
        x=PlotScale(-0.02 * steps, 1.02 * steps, is_whole=True),
        y=scale_of(heights, chart.kind, is_share=chart.is_share),
        lines=lines,
        band=band,
        guide=guide,
        findings=_findings(run) if run else {},
    )


# Curves -------------------------------------------------------------------------------------------------


def _trained(lines: Sequence[LogLine], curve: Curve) -> list[PlotLine]:
    """Return the logged values as a faint line, and their moving average.

    Values that are few or smooth are returned alone.
    """
    x, y = points(lines, curve.metric)
    if not x:
        return []
    smooth = moving_average(y)
    line = PlotLine(curve.label, curve.color, *thinned(x, smooth), dash=curve.dash)
    if smooth == y:
        return [line]
    return [PlotLine(curve.label, curve.color, *thinned(x, y), is_faint=True), line]


def _held_out(run: RunData, curve: Curve, chart: Chart) -> list[PlotLine]:
    """Return the curve of the evaluations; for shares, with the exact 95 % interval of each."""
    x, y = thinned(*points(run.eval, curve.metric))
    if not x:
        return []
    rows = held_out_count(run, curve.metric) if chart.is_share else 0
    is_share = all(0 <= value <= 1 for value in y)
    limits = [clopper_pearson(share * rows, rows) for share in y] if rows and is_share else []
    low, high = [low for low, _ in limits], [high for _, high in limits]
    return [PlotLine(curve.label, curve.color, x, y, curve.dash, "both", low=low, high=high)]


def _band(run: RunData, chart: Chart) -> PlotBand | None:
    if not chart.band:
        return None
    (x, low), (x_high, high) = (points(run.train, metric) for metric in chart.band)
    if not x or x != x_high:
        return None
    stride = max(1, -(-len(x) // MOST_POINTS))
    return PlotBand(x[::stride], moving_average(low)[::stride], moving_average(high)[::stride])


def points(lines: Sequence[LogLine], metric: str) -> tuple[list[int], list[float]]:
    """Return the steps and the finite values of one metric."""
    found = [(int(line["step"]), line[metric]) for line in lines if _is_number(line.get(metric))]
    return [step for step, _ in found], [float(value) for _, value in found]


def thinned(x: list[int], y: list[float]) -> tuple[list[int], list[float]]:
    """Return at most `MOST_POINTS` points of a curve.

    Of each interval of steps, the lowest and the highest point are kept, so that peaks stay visible.
    """
    if len(x) <= MOST_POINTS:
        return x, y
    size = -(-2 * len(x) // MOST_POINTS)
    kept: list[int] = []
    for start in range(0, len(x), size):
        stretch = range(start, min(start + size, len(x)))
        kept += sorted({min(stretch, key=y.__getitem__), max(stretch, key=y.__getitem__)})
    return [x[i] for i in kept], [y[i] for i in kept]


def moving_average(y: list[float]) -> list[float]:
    """Return the centered moving average over about a twentieth of the points.

    Short or smooth series are returned unchanged.
    """
    reach = len(y) // 40
    if reach < 1 or _is_smooth(y):
        return y
    sums = [0.0]
    for value in y:
        sums.append(sums[-1] + value)
    ends = [(max(0, i - reach), min(len(y), i + reach + 1)) for i in range(len(y))]
    return [(sums[stop] - sums[start]) / (stop - start) for start, stop in ends]


def _is_smooth(y: list[float]) -> bool:
    """Whether neighboring values are close compared with the whole range, as in a learning-rate schedule."""
    spread = max(y) - min(y)
    return max(abs(b - a) for a, b in pairwise(y)) <= 0.15 * spread


# Reference lines and words ------------------------------------------------------------------------------


def _guides(run: RunData) -> dict[str, tuple[float, str]]:
    """Return the reference lines that this run can have: `(y value, label)` by name."""
    guides = {"zero": (0.0, ""), "half": (0.5, "chance")}
    if _starts_at(run, math.log(2)):
        guides["ln2"] = (math.log(2), "ln 2: no preference learned")
    clip = (run.config.get("optim") or {}).get("clip") if isinstance(run.config.get("optim"), dict) else None
    if _is_number(clip):
        guides["clip"] = (float(clip), f"clip {clip:g}")
    return guides


def _starts_at(run: RunData, loss: float) -> bool:
    """Whether the first logged loss is `loss`, which is that of a policy that equals its reference."""
    lines = (line for line in (*run.eval[:1], *run.train[:1]) if _is_number(line.get("loss")))
    first = min(lines, key=lambda line: int(line["step"]), default=None)
    return first is not None and math.isclose(first["loss"], loss, abs_tol=ROUNDING)


def _findings(run: RunData) -> dict[float, list[int]]:
    """Return the numbers of findings in the page's list, by the step at which they were reported.

    Notes are skipped.
    """
    found: dict[float, list[int]] = defaultdict(list)
    for number, finding in enumerate(run.findings, start=1):
        if finding.step is not None and finding.severity != "note":
            found[finding.step].append(number)
    return found


def _caption(run: RunData, chart: Chart) -> str:
    sentences = [chart.reading]
    if chart.is_share and any(held_out_count(run, curve.metric) for curve in chart.curves):
        sentences.append("Bars are 95 % intervals.")
    sentences += sample_sizes(run, {curve.metric for curve in chart.curves}) if chart.is_of_rows else []
    if chart.told:
        metric, sentence = chart.told
        values = [line[metric] for line in run.train if _is_number(line.get(metric))]
        sentences += [sentence.format(percent(sum(values) / len(values)), len(values))] if values else []
    return " ".join(sentences)


def _unnamed(run: RunData) -> Iterator[Chart]:
    """Yield a plain chart for each logged metric that no chart of `CHARTS` shows."""
    shown = {curve.metric for chart in CHARTS for curve in chart.curves} | NOT_ALONE
    logged = dict.fromkeys(
        name for line in [*run.train, *run.eval] for name, value in line.items() if _is_number(value)
    )
    for name in logged:
        if name not in shown:
            yield Chart(name.replace("_", " ").capitalize(), "", "", both(name))


def _is_number(value: object) -> TypeGuard[float]:
    return is_usable(value) and not isinstance(value, bool)
