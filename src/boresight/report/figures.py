"""Curves as plotly figures: plain dictionaries, coloured by name so that a page can be light or dark.

A colour is written `var:NAME` and becomes the value of the style sheet's `--NAME` when the page draws it.
Each `Chart` below says which metrics it shows and how to read them; a chart appears when the run logged
any of its metrics, and metrics that no chart names get a plain chart of their own, so nothing is hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from boresight.evaluate.stats import wilson
from boresight.report.read_run import Line, RunData

Trace = dict[str, Any]
MOST_POINTS = 1500


@dataclass(frozen=True)
class Curve:
    """One metric of one split."""

    metric: str
    label: str
    colour: str
    split: str = "train"
    dash: str = "solid"


@dataclass(frozen=True)
class Chart:
    """What one small chart shows. `reading` is one sentence for someone who sees it for the first time."""

    title: str
    unit: str
    reading: str
    curves: tuple[Curve, ...]
    band: tuple[str, str] | None = None
    kind: str = "linear"
    guide: str | None = None
    """Name of a reference line that `_guides` can compute from the run."""
    is_share: bool = False
    told: tuple[str, str] | None = None
    """A metric whose mean over the run is told in the caption, and the sentence it goes into."""


@dataclass(frozen=True)
class Figure:
    """One drawn chart: plotly data and layout, a legend for the page to write, and the caption."""

    title: str
    unit: str
    reading: str
    legend: list[dict[str, str]]
    data: list[Trace]
    layout: dict[str, Any]


def _both(metric: str, train: str = "training", held_out: str = "held out") -> tuple[Curve, Curve]:
    return (
        Curve(metric, train, "after"),
        Curve(metric, held_out, "held-out", split="eval"),
    )


CHARTS = (
    Chart(
        "Loss",
        "nats",
        "Falls as the policy fits the training data; watch the held-out line.",
        _both("loss"),
        guide="ln2",
    ),
    Chart(
        "Accuracy",
        "",
        "How often the chosen answer leads the rejected one.",
        _both("accuracy"),
        guide="half",
        is_share=True,
    ),
    Chart(
        "Margin",
        "nats",
        "How far chosen answers lead rejected ones; the band holds the middle 80 % of pairs.",
        _both("margin"),
        band=("margin_p10", "margin_p90"),
        guide="zero",
    ),
    Chart(
        "Log-ratio to the reference",
        "nats",
        "Positive: likelier than before training. Both falling means answers of both kinds get rarer.",
        (
            Curve("chosen_logratio", "chosen", "chosen"),
            Curve("rejected_logratio", "rejected", "rejected"),
            Curve("chosen_logratio", "chosen, held out", "chosen", split="eval", dash="dot"),
            Curve("rejected_logratio", "rejected, held out", "rejected", split="eval", dash="dot"),
        ),
        guide="zero",
    ),
    Chart("Reward", "", "Mean reward of the answers.", _both("reward")),
    Chart(
        "Distance from the reference",
        "nats per token",
        "How far the policy has moved: the price paid for the margin.",
        (
            Curve("logratio_per_token", "log-ratio, training", "after"),
            Curve("kl_per_token", "KL, training", "before"),
            Curve("kl_per_token", "KL, held out", "held-out", split="eval"),
        ),
        guide="zero",
    ),
    Chart(
        "Negative log-likelihood",
        "nats per token",
        "How surprised the model is by the answers it learns from.",
        _both("nll_per_token"),
    ),
    Chart(
        "Gradient norm",
        "",
        "Before clipping. Above the line the step is scaled down to it.",
        (Curve("grad_norm", "norm", "after"),),
        kind="log",
        guide="clip",
        told=("clipped", "{:.0%} of the steps were clipped."),
    ),
    Chart(
        "Learning rate",
        "",
        "Its rise over the warm-up and its decay.",
        (Curve("lr", "rate", "after"),),
    ),
    Chart(
        "Sum of learning rates",
        "",
        "Under Adam no weight can have moved further than this.",
        (Curve("lr_sum", "sum so far", "after"),),
    ),
    Chart(
        "Answer length",
        "tokens",
        "Chosen and rejected should be alike, or length is what is learnt.",
        (
            Curve("chosen_len", "chosen", "chosen"),
            Curve("rejected_len", "rejected", "rejected"),
            Curve("length", "answer", "after"),
        ),
        told=("truncated_share", "{:.1%} of the rows were truncated."),
    ),
    Chart(
        "Throughput",
        "tokens per second",
        "Trained tokens per second of a step.",
        (Curve("tokens_per_second", "tokens per second", "after"),),
    ),
)

# Shown elsewhere or read with another metric; they get no chart of their own.
_NOT_ALONE = {
    "step",
    "split",
    "clipped",
    "truncated_share",
    "seconds",
    "margin_p10",
    "margin_p50",
    "margin_p90",
    "n",
    "peak_memory_gb",
}


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
        _overlay(runs, chart, metric, last)
        for chart in charts
        for metric in dict.fromkeys(curve.metric for curve in chart.curves)
    ]
    return [figure for figure in found if figure.data]


def _overlay(runs: Sequence[RunData], chart: Chart, metric: str, last_step: int) -> Figure:
    data: list[Trace] = []
    legend: list[dict[str, str]] = []
    for number, run in enumerate(runs, start=1):
        colour = run_colour(number)
        curve = Curve(metric, run.name, colour)
        traces = _held_out(run, curve, chart) or _trained(run.train, curve)
        if traces:
            data += traces
            legend.append({"label": run.name, "colour": colour, "dash": "solid"})
    alone = len({curve.metric for curve in chart.curves}) == 1
    title = chart.title if alone else f"{chart.title}: {metric.replace('_', ' ')}"
    return Figure(title, chart.unit, "", legend, data, base_layout(chart, last_step))


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
    layout["shapes"], layout["annotations"] = _guide(run, chart, data)
    return Figure(chart.title, chart.unit, _caption(run, chart), legend, data, layout)


# Traces -------------------------------------------------------------------------------------------------


def _trained(lines: Sequence[Line], curve: Curve) -> list[Trace]:
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
        limits = [wilson(share * rows, rows) for share in y]
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


def _band(lines: Sequence[Line], low: str, high: str) -> list[Trace]:
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


def points(lines: Sequence[Line], metric: str) -> tuple[list[int], list[float]]:
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
    return max(abs(b - a) for a, b in zip(y, y[1:], strict=False)) <= 0.15 * spread


# Reference lines and words ------------------------------------------------------------------------------


def _guides(run: RunData) -> dict[str, tuple[float, str]]:
    """Reference lines that this run can have: name -> (height, label)."""
    guides = {"zero": (0.0, ""), "half": (0.5, "chance")}
    if run.method == "dpo":
        guides["ln2"] = (math.log(2), "ln 2: no preference learnt")
    clip = (run.config.get("optim") or {}).get("clip") if isinstance(run.config.get("optim"), dict) else None
    if _is_number(clip):
        guides["clip"] = (float(clip), f"clip {clip:g}")
    return guides


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


def _caption(run: RunData, chart: Chart) -> str:
    sentences = [chart.reading]
    if chart.is_share and _held_out_rows(run):
        sentences.append("Bars are 95 % intervals.")
    if chart.told:
        metric, sentence = chart.told
        _, values = points(run.train, metric)
        sentences += [sentence.format(sum(values) / len(values))] if values else []
    return " ".join(sentences)


def _held_out_rows(run: RunData) -> int:
    held_out = run.data.get("eval")
    kept = held_out.get("kept") if isinstance(held_out, dict) else None
    return int(kept) if _is_number(kept) else 0


def _unnamed(run: RunData) -> Iterator[Chart]:
    """A plain chart for each logged metric that no chart above shows."""
    shown = {curve.metric for chart in CHARTS for curve in chart.curves} | _NOT_ALONE
    logged = dict.fromkeys(
        name for line in [*run.train, *run.eval] for name, value in line.items() if _is_number(value)
    )
    for name in logged:
        if name not in shown:
            yield Chart(name.replace("_", " ").capitalize(), "", "", _both(name))


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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
