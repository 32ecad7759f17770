"""Figures of a sweep's page: the metric against each key, and learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boresight.experiments.sweep.prune import read_curve
from boresight.experiments.sweep.results import SettingResult
from boresight.experiments.sweep.space import short_key
from boresight.experiments.sweep.storage import Sweep
from boresight.reports.drawing.plot import Plot, PlotLine
from boresight.reports.drawing.scales import PlotScale, named_scale, scale_of
from boresight.reports.figures import Figure, legend_of, run_color

MOST_CURVES = 6
"""Maximum number of settings whose learning curves are drawn."""


def sweep_figures(sweep: Sweep, results: Sequence[SettingResult]) -> list[Figure]:
    """Draw one figure for each key that varied, then the learning curves."""
    return [*metric_by_key(sweep, results), *learning_curves(sweep, results)]


def metric_by_key(sweep: Sweep, results: Sequence[SettingResult]) -> list[Figure]:
    """Draw the metric against each key that varied, one figure per key and one dot per setting."""
    measured = [(result.values, result.mean.mean.value) for result in results if result.mean]
    heights = [value for _, value in measured]
    drawn = []
    for index, key in enumerate(sweep.recipe.keys):
        values = [values[index] for values, _ in measured]
        if len(set(map(str, values))) < 2:
            continue
        places, scale = key_scale(values)
        plot = Plot(
            title=key,
            x_axis=short_key(key),
            y_axis=_y_axis(sweep),
            x=scale,
            y=scale_of(heights, is_share=sweep.recipe.unit == "share"),
            lines=[PlotLine(sweep.recipe.label, "after", places, heights, mode="dots")],
        )
        reading = "A dot is a setting, measured on the held-out rows of the search."
        drawn.append(Figure(key, "", reading, [], plot))
    return drawn


def key_scale(values: Sequence[Any]) -> tuple[list[float], PlotScale]:
    """Return the positions of a key's values on the x axis, and the axis.

    The axis is logarithmic if the values are positive and span a factor of 10. Values that are not all
    numbers are placed by name, in order of appearance.
    """
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        names = tuple(dict.fromkeys(map(str, values)))
        return [float(names.index(str(value))) for value in values], named_scale(names)
    is_log = min(values) > 0 and max(values) >= 10 * min(values)
    return [float(value) for value in values], scale_of(values, "log" if is_log else "linear")


def learning_curves(sweep: Sweep, results: Sequence[SettingResult]) -> list[Figure]:
    """Draw the held-out metric over training rows for the best settings and those that were ended early.

    The list is empty if no run has been evaluated.
    """
    chosen = [r for r in results if r.rank or {"pruned", "stopped"} & r.states.keys()][:MOST_CURVES]
    lines = []
    for number, result in enumerate(chosen, start=1):
        for trial in sweep.trials_of(result.number):
            curve = read_curve(
                sweep.run_folder(trial), sweep.recipe.metric, sweep.recipe_of(trial).train.batch
            )
            label = sweep.in_words(result.number)
            lines.append(PlotLine(label, run_color(number), [*curve], [*curve.values()], mode="both"))
    lines = [line for line in lines if line.x]
    if not lines:
        return []
    plot = Plot(
        title="Learning curves",
        x_axis="training rows",
        y_axis=_y_axis(sweep),
        x=scale_of([0, *(x for line in lines for x in line.x)]),
        y=scale_of((y for line in lines for y in line.y), is_share=sweep.recipe.unit == "share"),
        lines=lines,
    )
    reading = "Measured on held-out rows during training; the best settings and those ended early."
    return [Figure("Learning curves", "", reading, legend_of(lines), plot)]


def _y_axis(sweep: Sweep) -> str:
    """Return the label of the y axis: the metric with its unit, except for a share, whose ticks show it."""
    unit = "" if sweep.recipe.unit == "share" else sweep.recipe.unit
    return f"{sweep.recipe.label}, {unit}" if unit else sweep.recipe.label
