"""Figures of a sweep's page: the metric against each key, and learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boresight.experiments.sweep.prune import read_curve
from boresight.experiments.sweep.results import SettingResult
from boresight.experiments.sweep.space import short_key
from boresight.experiments.sweep.storage import Sweep
from boresight.reports.charts import Chart
from boresight.reports.figures import Figure, Trace, base_layout, run_colour

MOST_CURVES = 6
"""Settings whose learning curves are drawn."""


def sweep_figures(sweep: Sweep, results: Sequence[SettingResult]) -> list[Figure]:
    """One figure for each key that varied, then the learning curves."""
    return [*metric_by_key(sweep, results), *learning_curves(sweep, results)]


def metric_by_key(sweep: Sweep, results: Sequence[SettingResult]) -> list[Figure]:
    """The metric against each key that varied, one dot per setting."""
    measured = [(result.values, result.mean.mean.value) for result in results if result.mean]
    drawn = []
    for index, key in enumerate(sweep.recipe.keys):
        values = [values[index] for values, _ in measured]
        if len(set(map(str, values))) < 2:
            continue
        layout = base_layout(_chart(sweep, short_key(key)), 1)
        scale = _scale(values)
        automatic = {"range": None, "autorange": True, "tickformat": None, "exponentformat": "e"}
        layout["xaxis"] |= {"type": scale, **automatic}
        layout["hovermode"] = "closest"
        trace = {
            "type": "scatter",
            "mode": "markers",
            "x": list(map(str, values)) if scale == "category" else values,
            "y": [value for _, value in measured],
            "name": short_key(key),
            "marker": {"size": 8, "color": "var:after", "opacity": 0.8},
        }
        reading = f"Held-out {sweep.recipe.metric} in the search; a dot is a setting."
        drawn.append(Figure(key, "", reading, [], [trace], layout))
    return drawn


def _scale(values: Sequence[Any]) -> str:
    """Plotly's name for the scale of an axis: logarithmic if the values span a factor of 10."""
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return "category"
    return "log" if min(values) > 0 and max(values) >= 10 * min(values) else "linear"


def learning_curves(sweep: Sweep, results: Sequence[SettingResult]) -> list[Figure]:
    """The held-out curves of the best settings and of pruned ones, by training rows."""
    chosen = [result for result in results if result.rank or result.states.get("pruned")][:MOST_CURVES]
    data: list[Trace] = []
    legend: list[dict[str, str]] = []
    for number, result in enumerate(chosen, start=1):
        label, colour = sweep.in_words(result.number), run_colour(number)
        legend.append({"label": label, "colour": colour, "dash": "solid"})
        for trial in sweep.trials_of(result.number):
            curve = read_curve(
                sweep.run_folder(trial), sweep.recipe.metric, sweep.recipe_of(trial).train.batch
            )
            trace = {
                "type": "scatter",
                "mode": "lines+markers",
                "x": list(curve),
                "y": list(curve.values()),
                "name": label,
                "line": {"color": f"var:{colour}", "width": 2},
                "marker": {"size": 5, "color": f"var:{colour}"},
            }
            data.append(trace)
    last = max((max(trace["x"], default=0) for trace in data), default=0)
    if not last:
        return []
    reading = f"Held-out {sweep.recipe.metric} by training rows seen; the best settings and pruned ones."
    layout = base_layout(_chart(sweep, "Held-out curve"), last)
    return [Figure("Learning curves", "", reading, legend, data, layout)]


def _chart(sweep: Sweep, title: str) -> Chart:
    return Chart(title, "", "", (), is_share=sweep.recipe.unit == "share")
