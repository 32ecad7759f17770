"""Curves as plotly figures: plain dictionaries, coloured by name so that a page can be light or dark.

A colour is written `var:NAME` and becomes the value of the style sheet's `--NAME` when the page draws it.
Metrics that no chart of `charts` names get a plain one of their own, so that nothing logged is hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeGuard

from boresight.reports.charts import CHARTS, NOT_ALONE, Chart, Curve, both
from boresight.reports.facts import method_settings
from boresight.reports.read_run import LogLine, RunData
from boresight.stats.intervals import clopper_pearson

Trace = dict[str, Any]
MOST_POINTS = 1500
ROUNDING = 0.002
"""Nats by which a loss may miss its value before the first update, for half-precision runs."""


@dataclass(frozen=True)
class Figure:
    """One drawn chart: plotly data and layout, a legend for the page to write, and the caption."""

    title: str
    unit: str
    reading: str
    legend: list[dict[str, str]]
    data: list[Trace]
    layout: dict[str, Any]


def figures(run: RunData) -> list[Figure]:
    """Every chart that the run has numbers for, in reading order."""
    charts = [*CHARTS, *_unnamed(run)]
    drawn = (_draw(run, chart) for chart in charts)
    return [figure for figure in drawn if figure.data]


def overlaid(runs: Sequence[RunData]) -> list[Figure]:
    """The same charts with one curve a run: its held-out values, or its training values without them."""
    last = max((run.last_step for run in runs), default=1)
    charts = dict.fromkeys(chart for run in runs for chart in [*CHARTS, *_unnamed(run)])
    found = [
        _overlay(runs, chart, metric, unit, last)
        for chart in charts
        for metric in dict.fromkeys(curve.metric for curve in chart.curves)
        for unit in dict.fromkeys(unit_of(run, chart) for run in runs)
    ]
    return [figure for figure in found if figure.data]


def unit_of(run: RunData, chart: Chart) -> str:
    """Unit of a chart for one run: nats for DPO's loss, their square for IPO's."""
    settings = method_settings(run) if chart.unit_from else None
    return chart.unit if settings is None else getattr(settings, chart.unit_from)


def _overlay(runs: Sequence[RunData], chart: Chart, metric: str, unit: str, last_step: int) -> Figure:
    """One metric of the runs that have it in `unit`."""
    data: list[Trace] = []
    legend: list[dict[str, str]] = []
    for number, run in enumerate(runs, start=1):
        if unit_of(run, chart) != unit:
            continue
        colour = run_colour(number)
        curve = Curve(metric, run.name, colour)
        traces = _held_out(run, curve, chart) or _trained(run.train, curve)
        if traces:
            data += traces
            legend.append({"label": run.name, "colour": colour, "dash": "solid"})
    alone = len({curve.metric for curve in chart.curves}) == 1
    title = chart.title if alone else f"{chart.title}: {metric.replace('_', ' ')}"
    return Figure(title, unit, "", legend, data, base_layout(chart, last_step))


def run_colour(number: int) -> str:
    """Name of the colour of the number-th run, from 1; six colours, then again."""
    return f"run-{(number - 1) % 6 + 1}"


def _draw(run: RunData, chart: Chart) -> Figure:
    data: list[Trace] = []
    legend: list[dict[str, str]] = []
    if chart.band:
        data += _band(run.train, *chart.band)
    for curve in chart.curves:
        traces = _held_out(run, curve, chart) if curve.split == "eval" else _trained(run.train, curve)
        if traces:
            data += traces
            legend.append({"label": curve.label, "colour": curve.colour, "dash": curve.dash})
    layout = base_layout(chart, run.last_step)
    guides, labels = _guide(run, chart, data)
    marks, numbers = _marks(run, data)
    layout["shapes"], layout["annotations"] = guides + marks, labels + numbers
    return Figure(chart.title, unit_of(run, chart), _caption(run, chart), legend, data, layout)


# Traces -------------------------------------------------------------------------------------------------


def _trained(lines: Sequence[LogLine], curve: Curve) -> list[Trace]:
    """The logged values, faint, under their moving average; the values alone when they are few or smooth."""
    x, y = points(lines, curve.metric)
    if not x:
        return []
    line = {"color": f"var:{curve.colour}", "width": 2, "dash": curve.dash}
    smooth = moving_average(y)
    if smooth == y:
        return [_line(x, y, curve.label, line)]
    raw = _line(x, y, curve.label, line | {"width": 1}) | {"opacity": 0.28, "hoverinfo": "skip"}
    return [raw, _line(x, smooth, f"{curve.label}, smoothed", line)]


def _held_out(run: RunData, curve: Curve, chart: Chart) -> list[Trace]:
    x, y = points(run.eval, curve.metric)
    if not x:
        return []
    trace = _line(x, y, curve.label, {"color": f"var:{curve.colour}", "width": 2, "dash": curve.dash})
    trace |= {"mode": "lines+markers", "marker": {"size": 6, "color": f"var:{curve.colour}"}}
    rows = _held_out_rows(run)
    if chart.is_share and rows:
        limits = [clopper_pearson(share * rows, rows) for share in y]
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - share for share, (_, high) in zip(y, limits, strict=True)],
            "arrayminus": [share - low for share, (low, _) in zip(y, limits, strict=True)],
            "color": f"var:{curve.colour}",
            "thickness": 1.2,
            "width": 3,
        }
    return [trace]


def _band(lines: Sequence[LogLine], low: str, high: str) -> list[Trace]:
    x, bottom = points(lines, low)
    x_high, top = points(lines, high)
    if not x or x != x_high:
        return []
    edge = {"width": 0, "color": "var:band"}
    hidden = {"hoverinfo": "skip"}
    return [
        _line(x, moving_average(bottom), "10th percentile", edge) | hidden,
        _line(x, moving_average(top), "90th percentile", edge)
        | hidden
        | {"fill": "tonexty", "fillcolor": "var:band"},
    ]


def _line(x: list[int], y: list[float], name: str, line: dict[str, Any]) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "name": name,
        "line": line | {"simplify": False},
    }


def points(lines: Sequence[LogLine], metric: str) -> tuple[list[int], list[float]]:
    """Steps and finite values of one metric; every k-th one when there are more than a screen can show."""
    found = [(int(line["step"]), line[metric]) for line in lines if _is_number(line.get(metric))]
    stride = -(-len(found) // MOST_POINTS)
    kept = found[:: max(1, stride)]
    return [step for step, _ in kept], [float(value) for _, value in kept]


def moving_average(y: list[float]) -> list[float]:
    """A centred average over about a twentieth of the points; short or smooth series come back unchanged."""
    reach = len(y) // 40
    if reach < 1 or _is_smooth(y):
        return y
    sums = [0.0]
    for value in y:
        sums.append(sums[-1] + value)
    ends = [(max(0, i - reach), min(len(y), i + reach + 1)) for i in range(len(y))]
    return [(sums[stop] - sums[start]) / (stop - start) for start, stop in ends]


def _is_smooth(y: list[float]) -> bool:
    """Whether neighbours lie close compared with the whole range, as in a learning-rate schedule."""
    spread = max(y) - min(y)
    return max(abs(b - a) for a, b in pairwise(y)) <= 0.15 * spread


# Reference lines and words ------------------------------------------------------------------------------


def _guides(run: RunData) -> dict[str, tuple[float, str]]:
    """Reference lines that this run can have: name -> (height, label)."""
    guides = {"zero": (0.0, ""), "half": (0.5, "chance")}
    if _starts_at(run, math.log(2)):
        guides["ln2"] = (math.log(2), "ln 2: no preference learnt")
    clip = (run.config.get("optim") or {}).get("clip") if isinstance(run.config.get("optim"), dict) else None
    if _is_number(clip):
        guides["clip"] = (float(clip), f"clip {clip:g}")
    return guides


def _starts_at(run: RunData, loss: float) -> bool:
    """Whether the first loss that the run logged is this one: that of a policy that is the reference."""
    lines = (line for line in (*run.eval[:1], *run.train[:1]) if _is_number(line.get("loss")))
    first = min(lines, key=lambda line: int(line["step"]), default=None)
    return first is not None and math.isclose(first["loss"], loss, abs_tol=ROUNDING)


def _guide(run: RunData, chart: Chart, data: list[Trace]) -> tuple[list[Trace], list[Trace]]:
    height, label = _guides(run).get(chart.guide or "", (None, ""))
    if height is None or not data:
        return [], []
    line = {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height,
        "line": {"color": "var:guide", "width": 1, "dash": "dash"},
    }  # fmt: skip
    note = {
        "text": label, "showarrow": False, "font": {"size": 11, "color": "var:muted"}, "bgcolor": "var:card",
        "xref": "paper", "x": 1, "xanchor": "right", "yanchor": "bottom",
        "y": math.log10(height) if chart.kind == "log" else height,
    }  # fmt: skip
    return [line], [note] if label else []


def _marks(run: RunData, data: list[Trace]) -> tuple[list[Trace], list[Trace]]:
    """A line at the step of every finding, with its number in the page's list."""
    lines, numbers = [], []
    for number, finding in enumerate(run.findings if data else [], start=1):
        if finding.step is None or finding.severity == "note":
            continue
        lines.append(
            {
                "type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": finding.step, "x1": finding.step,
                "line": {"color": "var:held-out", "width": 1, "dash": "dot"},
            }
        )  # fmt: skip
        numbers.append(
            {
                "text": str(number), "showarrow": False, "font": {"size": 10, "color": "var:held-out"},
                "x": finding.step, "xanchor": "left", "yref": "paper", "y": 1, "yanchor": "top",
            }
        )  # fmt: skip
    return lines, numbers


def _caption(run: RunData, chart: Chart) -> str:
    sentences = [chart.reading]
    if chart.is_share and _held_out_rows(run):
        sentences.append("Bars are 95 % intervals.")
    if chart.told:
        metric, sentence = chart.told
        values = [line[metric] for line in run.train if _is_number(line.get(metric))]
        sentences += [sentence.format(sum(values) / len(values), len(values))] if values else []
    return " ".join(sentences)


def _held_out_rows(run: RunData) -> int:
    held_out = run.data.get("eval")
    kept = held_out.get("kept") if isinstance(held_out, dict) else None
    return int(kept) if _is_number(kept) else 0


def _unnamed(run: RunData) -> Iterator[Chart]:
    """A plain chart for each logged metric that no chart above shows."""
    shown = {curve.metric for chart in CHARTS for curve in chart.curves} | NOT_ALONE
    logged = dict.fromkeys(
        name for line in [*run.train, *run.eval] for name, value in line.items() if _is_number(value)
    )
    for name in logged:
        if name not in shown:
            yield Chart(name.replace("_", " ").capitalize(), "", "", both(name))


def base_layout(chart: Chart, last_step: int) -> dict[str, Any]:
    """Axes and spacing that all charts share; every x axis spans the whole run."""
    axis = {
        "gridcolor": "var:grid",
        "zeroline": False,
        "linecolor": "var:grid",
        "tickfont": {"color": "var:muted"},
    }
    y: dict[str, Any] = axis | {"type": chart.kind, "nticks": 5, "automargin": True, "exponentformat": "e"}
    if chart.is_share:
        y |= {"tickformat": ".0%"}
    reach = max(1, last_step)
    return {
        "height": 230,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "showlegend": False,
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "var:card", "bordercolor": "var:grid", "font": {"color": "var:ink"}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 12, "color": "var:ink"},
        "xaxis": axis
        | {
            "showgrid": False,
            "automargin": True,
            "nticks": 6,
            "tickformat": ",d",
            "range": [-0.02 * reach, 1.02 * reach],
        },
        "yaxis": y,
    }


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
