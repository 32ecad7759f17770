"""The page of a sweep: the verdict first, then the confirmation, all settings, and what moved the metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from boresight.core.files import write_text
from boresight.experiments.sweep import table
from boresight.experiments.sweep.confirm import Confirmed, confirmed, verdict
from boresight.experiments.sweep.prune import read_curve
from boresight.experiments.sweep.space import short, value_words
from boresight.experiments.sweep.storage import Sweep
from boresight.experiments.sweep.table import Line
from boresight.reports.charts import Chart
from boresight.reports.figures import Figure, Trace, base_layout, run_colour
from boresight.reports.page import page, write_page
from boresight.reports.tables.intervals import Cell, interval_cell
from boresight.reports.tables.metrics import Drawing, draw_intervals
from boresight.stats.over_seeds import OverSeeds
from boresight.stats.units import unit_named

BADGES = {True: "better", False: "not-resolved"}


@dataclass(frozen=True)
class SettingLine:
    """One setting as a line of the page."""

    rank: str
    values: list[str]
    cell: Cell | None
    drawing: Drawing | None
    trials: str
    time: str
    why: str


@dataclass(frozen=True)
class ConfirmedLine:
    """One confirmed setting as a line of the page."""

    name: str
    cell: Cell
    drawing: Drawing | None
    difference: Cell | None
    seed_sd: str
    p: str
    verdict: str


def write_sweep_page(sweep: Sweep) -> tuple[Path, list[str]]:
    """Write report.html, table.md and trials.csv; returns the page's path and the sentences to print."""
    found, tested = table.lines(sweep), confirmed(sweep)
    said = [*verdict(sweep, tested), *_lost(found)]
    path = sweep.folder / "report.html"
    write_page(path, render(sweep, found, tested, said))
    write_text(sweep.folder / "table.md", table.markdown(sweep, found, tested, said))
    write_text(sweep.folder / "trials.csv", table.comma_separated(sweep, found))
    return path, said


def render(sweep: Sweep, found: Sequence[Line], tested: Sequence[Confirmed], said: Sequence[str]) -> str:
    """The page as text."""
    figures = [*against_keys(sweep, found), *curves(sweep, found)]
    return page(
        "sweep.html.j2",
        title=sweep.folder.resolve().name,
        headline=f"{len(found)} settings by {sweep.recipe.metric}",
        said=said,
        metric=sweep.recipe.metric,
        better=sweep.recipe.better,
        seeds=len(sweep.recipe.seeds),
        keys=[short(key) for key in sweep.recipe.keys],
        confirmed=_confirmed(sweep, tested),
        settings=_settings(sweep, found),
        figures=figures,
        recipe=sweep.recipe.to_yaml(),
        payload={
            "figures": [{"data": f.data, "layout": f.layout} for f in figures],
            "columns": [],
            "outcomes": [],
            "samples": [],
        },
    )


def _lost(found: Sequence[Line]) -> list[str]:
    """A sentence for each reason that settings failed for."""
    by_reason: dict[str, list[str]] = {}
    for line in found:
        if line.states.get("failed"):
            by_reason.setdefault(line.why.rstrip("."), []).append(str(line.number))
    return [
        f"{'Setting' if len(numbers) == 1 else 'Settings'} {', '.join(numbers)} failed: {why}."
        for why, numbers in by_reason.items()
    ]


def _settings(sweep: Sweep, found: Sequence[Line]) -> list[SettingLine]:
    unit = unit_named(sweep.recipe.unit)
    drawings = _drawn({str(line.number): line.mean for line in found}, sweep)
    return [
        SettingLine(
            rank=str(line.rank or "–"),
            values=[value_words(value) for value in line.values],
            cell=interval_cell(line.mean and line.mean.mean, unit, n=True),
            drawing=drawings.get(str(line.number)),
            trials=table.states_in_words(line),
            time=table.time_in_words(line.seconds),
            why=line.why,
        )
        for line in found
    ]


def _confirmed(sweep: Sweep, tested: Sequence[Confirmed]) -> list[ConfirmedLine]:
    unit = unit_named(sweep.recipe.unit)
    drawings = _drawn({c.name: c.mean for c in tested}, sweep)
    lines = []
    for c in tested:
        badge = ""
        if c.gain is not None:
            badge = BADGES[c.p < 0.05] if c.beats(sweep.recipe.better) or c.p >= 0.05 else "worse"
        mean, difference = (
            interval_cell(c.mean.mean, unit, n=True),
            interval_cell(c.gain and c.gain.mean, unit, signed=True),
        )
        spread = unit.difference(c.mean.seed_sd) if c.mean.seeds > 1 else "–"
        p = f"{c.p:.2g}" if c.gain else ""
        lines.append(ConfirmedLine(c.name, mean, drawings.get(c.name), difference, spread, p, badge))
    return lines


def _drawn(means: dict[str, OverSeeds | None], sweep: Sweep) -> dict[str, Drawing]:
    """Each mean alone, all on one scale, so that they can be compared by eye."""
    scale = draw_intervals(
        {name: mean and mean.mean for name, mean in means.items()}, unit_named(sweep.recipe.unit)
    )
    if scale is None:
        return {}
    said = dict(zip([mark.role for mark in scale.marks], scale.says.split("; "), strict=False))
    return {
        mark.role: replace(scale, marks=[replace(mark, role="after")], says=said.get(mark.role, ""))
        for mark in scale.marks
    }


def against_keys(sweep: Sweep, found: Sequence[Line]) -> list[Figure]:
    """The metric against each key that varied, a dot a setting."""
    drawn = []
    for index, key in enumerate(sweep.recipe.keys):
        dots = [(line.values[index], line.mean.mean.value) for line in found if line.mean]
        if len({str(x) for x, _ in dots}) < 2:
            continue
        layout = base_layout(Chart(short(key), "", "", (), is_share=sweep.recipe.unit == "share"), 1)
        numeric = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x, _ in dots)
        wide = (
            numeric
            and min(x for x, _ in dots) > 0
            and max(x for x, _ in dots) >= 10 * min(x for x, _ in dots)
        )
        kind = "log" if wide else "linear" if numeric else "category"
        layout["xaxis"] |= {
            "type": kind,
            "range": None,
            "autorange": True,
            "tickformat": None,
            "exponentformat": "e",
        }
        layout["hovermode"] = "closest"
        xs = [x if numeric else str(x) for x, _ in dots]
        trace = {
            "type": "scatter", "mode": "markers", "x": xs, "y": [y for _, y in dots], "name": short(key),
            "marker": {"size": 8, "color": "var:after", "opacity": 0.8},
        }  # fmt: skip
        reading = f"Held-out {sweep.recipe.metric} in the search; a dot is a setting."
        drawn.append(Figure(key, "", reading, [], [trace], layout))
    return drawn


def curves(sweep: Sweep, found: Sequence[Line], most: int = 6) -> list[Figure]:
    """The held-out curves of the best settings, and of those that were pruned, by training rows."""
    chosen = [line for line in found if line.rank or line.states.get("pruned")][:most]
    data: list[Trace] = []
    legend: list[dict[str, str]] = []
    for number, line in enumerate(chosen, start=1):
        label, colour = sweep.words(line.number), run_colour(number)
        for trial in [t for t in sweep.search_trials() if t.setting == line.number]:
            batch = sweep.recipe_of(trial).train.batch
            curve = read_curve(sweep.run_folder(trial), sweep.recipe.metric, batch)
            data.append(
                {
                    "type": "scatter", "mode": "lines+markers", "x": list(curve), "y": list(curve.values()),
                    "name": label, "line": {"color": f"var:{colour}", "width": 2},
                    "marker": {"size": 5, "color": f"var:{colour}"},
                }
            )  # fmt: skip
        legend.append({"label": label, "colour": colour, "dash": "solid"})
    if not any(trace["x"] for trace in data):
        return []
    last = max(max(trace["x"], default=0) for trace in data)
    chart = Chart("Held-out curve", "", "", (), is_share=sweep.recipe.unit == "share")
    reading = f"Held-out {sweep.recipe.metric} by training rows seen; the best settings and pruned ones."
    return [Figure("Learning curves", "", reading, legend, data, base_layout(chart, last))]
