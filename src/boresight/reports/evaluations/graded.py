"""Write the page of an evaluation by a reward: metrics, results of k samples, missing values, and single
prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from boresight.evaluation.graded.comparison import RewardComparison
from boresight.evaluation.graded.grading import GradedResponse, GradedSystem
from boresight.reports.drawing.plot import Plot, PlotLine
from boresight.reports.drawing.scales import scale_of
from boresight.reports.figures import Figure, legend_of, run_color
from boresight.reports.page import page, write_page
from boresight.reports.read_run import Metric
from boresight.reports.tables.files import Table, TableRow, write_tables
from boresight.reports.tables.metrics import metric_rows
from boresight.stats.intervals import Interval
from boresight.stats.paired import Measured
from boresight.stats.units import format_number

AT_K = re.compile(r"(pass_at|majority_at|best_of)_(\d+)$")
DASHES = {"pass_at": "solid", "majority_at": "dash", "best_of": "dot"}
NAMES = {"pass_at": "pass@k", "majority_at": "maj@k", "best_of": "best of k"}
KINDS = [("Better", "better"), ("Worse", "worse"), ("Alike", "alike"), ("No score", "missing")]
ALONE = [("Always right", "always"), ("Sometimes", "sometimes"), ("Never", "never"), ("No score", "missing")]
BADGES = {"better": "better", "always": "better", "worse": "worse", "never": "worse", "missing": "worse"}


def write_graded_page(path: Path, found: RewardComparison) -> Path:
    """Write the page to `path`, the metrics beside it as Markdown, CSV and LaTeX, and return the path."""
    write_page(path, render_graded(found))
    write_tables(path, systems_table(found))
    return path


def systems_table(found: RewardComparison) -> Table:
    """Return a table with a row per metric, and a column per system and per difference to the first."""
    first, *others = found.systems
    differences = {f"{system.name} - {first.name}": found.measured[system.name] for system in others}
    rows = [
        TableRow(
            metric.label,
            metric.unit,
            [
                *(metric.interval(system) for system in found.systems),
                *(measured[i].difference for measured in differences.values()),
            ],
        )
        for i, metric in enumerate(found.metrics)
    ]
    columns = [*(system.name for system in found.systems), *differences]
    return Table("metric", columns, rows, differences=tuple(differences))


def render_graded(found: RewardComparison) -> str:
    """Return the page as HTML."""
    names = [system.name for system in found.systems]
    return page(
        "graded.html.j2",
        title=" · ".join(names),
        headline=_headline(found),
        verdicts=found.verdicts,
        graded_by=found.graded_by,
        seeds=[group.sentence for group in found.seed_groups],
        notes=found.notes,
        reference=names[0],
        tables=[(name, metric_rows(list(map(as_metric, m)))) for name, m in found.measured.items()],
        figures=[figure for figure in [figure_over_k(found)] if figure is not None],
        payload={
            "columns": names,
            "files": "completions-SYSTEM.jsonl",
            "outcomes": [],
            "kinds": kinds_of(found),
            "samples": _samples(found),
        },
    )


def kinds_of(found: RewardComparison) -> list[tuple[str, str]]:
    """The outcomes of a prompt by which the page filters, each with its tag. Without a threshold no answer of
    a single system is right or wrong."""
    if len(found.systems) > 1:
        return KINDS
    return ALONE if found.threshold is not None else ALONE[-1:]


def _headline(found: RewardComparison) -> str:
    """Return which of two systems is better by the first metric.

    For any other number of systems, the phrase has their number or the name of the only one.
    """
    first, *others = found.systems
    if len(others) != 1:
        return f"{len(found.systems)} systems compared" if others else f"{first.name} alone"
    name, metric = others[0].name, found.measured[others[0].name][0]
    if found.lacking(others[0]) or metric.difference is None:
        return f"No verdict on {name} against {first.name}"
    if not metric.difference.excludes_zero:
        return f"{name} and {first.name} do not differ significantly"
    higher, lower = (name, first.name) if metric.difference.value > 0 else (first.name, name)
    return f"{higher} beats {lower}"


def as_metric(m: Measured) -> Metric:
    """Convert a metric to the form that reports use."""
    return Metric(m.name, m.label, m.before, m.after, m.difference, m.unit, m.better)


# What k samples give --------------------------------------------------------------------------------------


def figure_over_k(found: RewardComparison) -> Figure | None:
    """Draw pass@k, maj@k and best of k over k, with a color per system and 95 % intervals over prompts.

    Returns None if no metric has values at several k.
    """
    lines, sizes = [], set()
    for number, system in enumerate(found.systems, start=1):
        for kind, dash in DASHES.items():
            points = _points(found, system, kind)
            if len(points) > 1:
                sizes |= {interval.n for _, interval in points}
                lines.append(_line_over_k(points, f"{system.name}, {NAMES[kind]}", run_color(number), dash))
    if not lines:
        return None
    title, is_share = "By the number of samples, k", found.threshold is not None
    ks = tuple(sorted({float(k) for line in lines for k in line.x}))
    ends = [end for line in lines for end in (*line.low, *line.high)]
    plot = Plot(
        title=title,
        x_axis="samples per prompt, k",
        y_axis="share of prompts" if is_share else "reward",
        x=replace(scale_of(ks, "log" if max(ks) > 8 else "linear"), places=ks),
        y=scale_of(ends, is_share=is_share),
        lines=lines,
    )
    n = " to ".join(f"{size:,}" for size in sorted({min(sizes), max(sizes)}))
    reading = f"Bars are 95 % intervals over prompts, n = {n}. All is estimated from the same samples."
    return Figure(title, "", reading, legend_of(lines), plot)


def _points(found: RewardComparison, system: GradedSystem, kind: str) -> list[tuple[int, Interval]]:
    """Return `(k, interval)` of one kind of metric; at k = 1 all kinds are the mean of the first metric."""
    points = []
    if 1 in found.ks and (alone := found.metrics[0].interval(system)):
        points.append((1, alone))
    for metric in found.metrics:
        at = AT_K.match(metric.name)
        if at and at[1] == kind and (interval := metric.interval(system)):
            points.append((int(at[2]), interval))
    return points


def _line_over_k(points: Sequence[tuple[int, Interval]], label: str, color: str, dash: str) -> PlotLine:
    return PlotLine(
        label,
        color,
        x=[k for k, _ in points],
        y=[interval.value for _, interval in points],
        dash=dash,
        mode="both",
        low=[interval.low for _, interval in points],
        high=[interval.high for _, interval in points],
    )


# Prompt by prompt -----------------------------------------------------------------------------------------


def _samples(found: RewardComparison) -> list[dict[str, Any]]:
    """Return every prompt with the first completion of each system, and the grades of all completions."""
    metric = found.metrics[0]
    means = [list(metric.by_prompt(system).values()) for system in found.systems]
    shown = {tag for _, tag in kinds_of(found)}
    rows = []
    for i, prompt in enumerate(found.systems[0].prompts):
        graded = [system.by_prompt[i] for system in found.systems]
        tag = outcome_tag([None if mean[i] is None else float(mean[i] or 0) for mean in means])
        outcome = {"tags": [tag], "outcome": [tag, BADGES.get(tag, "")]} if tag in shown else {"tags": []}
        rows.append(
            outcome
            | {
                "id": prompt.id,
                "prompt": prompt.prompt,
                "answers": [of_prompt[0].response.text for of_prompt in graded],
                "cuts": [of_prompt[0].response.cut_mark for of_prompt in graded],
                "checks": [{} for _ in graded],
                "notes": [
                    (f"{system.name}: rewards of {len(of_prompt):,}", "\n".join(map(_grade, of_prompt)))
                    for system, of_prompt in zip(found.systems, graded, strict=True)
                ],
            }
        )
    return rows


def outcome_tag(means: Sequence[float | None]) -> str:
    """Return the verdict on one prompt: the last system against the first.

    For a single system, the verdict is how often it is right.

    Args:
        means: the mean of each system on this prompt; None if it is missing.
    """
    first, last = means[0], means[-1]
    if first is None or last is None:
        return "missing"
    if len(means) == 1:
        return "always" if last >= 1 else "never" if last <= 0 else "sometimes"
    return "better" if last > first else "worse" if last < first else "alike"


def _grade(graded: GradedResponse) -> str:
    """Return the grades of one completion as one line of text."""
    if graded.reward is None:
        return f"no score: {graded.failure}"
    parts = [f"reward {format_number(graded.reward)}"]
    if graded.reading is not None:
        parts.append(f"answer {graded.reading.answer}" if graded.reading.answer is not None else "no answer")
        parts += graded.reading.decided_by
    if graded.rank is not None:
        parts.append(f"rank {format_number(graded.rank)}")
    if graded.response.truncated:
        parts.append("truncated")
    return ", ".join(parts)
