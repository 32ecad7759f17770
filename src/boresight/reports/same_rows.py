"""Runs on the same held-out rows: differences of their numbers after training, paired by row.

Two intervals that overlap say little about a difference: rows that are hard for one run are hard for the
other, and that part of the spread cancels in a pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from boresight.reports.read_run import Metric, RunData
from boresight.stats.intervals import DIFFERENCE, bounds_of, holm
from boresight.stats.over_seeds import OverSeeds, difference_over_seeds
from boresight.stats.units import Unit, unit_named
from boresight.stats.verdict import after_holm, what_would_resolve


def differences_by_row(runs: Sequence[RunData]) -> list[str]:
    """A sentence per metric and later run, against the first run; p-values are adjusted within a metric.

    Only metrics of one name, label and unit are compared, and only rows of the same file.
    """
    baseline, *others = runs
    sentences = []
    for metric in baseline.metrics:
        found = [(run, d) for run in others if (d := _difference(metric, baseline, run)) is not None]
        adjusted = holm([d.p for _, d in found])
        for (run, d), p in zip(found, adjusted, strict=True):
            said = _sentence(metric, baseline.name, run.name, d)
            resolved = d.mean.excludes_zero
            sentences.append(said if len(others) == 1 else after_holm(said, p, resolved))
    return [*sentences, *_not_compared(baseline, others)]


def _difference(metric: Metric, a: RunData, b: RunData) -> OverSeeds | None:
    """b minus a of a metric over the rows of both; None where they share no metric, file or two rows."""
    alike = any((m.name, m.label, m.unit) == (metric.name, metric.label, metric.unit) for m in b.metrics)
    ours, theirs = (run.by_row.get(metric.name, {}) for run in (a, b))
    same_rows = _source(a, metric.name) == _source(b, metric.name) is not None
    known = [id for id in ours.keys() & theirs.keys() if not math.isnan(ours[id] + theirs[id])]
    if not alike or not same_rows or len(known) < 2:
        return None
    shared = [{id: values[id] for id in ours if id in theirs} for values in (ours, theirs)]
    graded = bounds_of(metric.unit, [value for values in shared for value in values.values()])
    return difference_over_seeds(shared[:1], shared[1:], bounds=DIFFERENCE if graded else None)


def _sentence(metric: Metric, a: str, b: str, found: OverSeeds) -> str:
    """Held-out accuracy: b against a +6.2 points [1.0, 11.4], n = 64, paired by row."""
    unit: Unit = unit_named(metric.unit)
    label = metric.label[:1].upper() + metric.label[1:]
    if found.mean.low == found.mean.high == 0:
        return f"{label}: {b} and {a} are equal on all {found.mean.n:,} rows."
    said = f"{label}: {b} against {a} {unit.change(found.mean)}, n = {found.mean.n:,}, paired by row"
    return f"{said}." if found.mean.excludes_zero else f"{said}: {what_would_resolve(found.mean, unit)}."


def _not_compared(baseline: RunData, others: Sequence[RunData]) -> Iterator[str]:
    for run in others:
        names = [m.name for m in baseline.metrics if m.name in baseline.by_row and m.name in run.by_row]
        if any(_source(baseline, name) != _source(run, name) for name in names):
            yield (
                f"Held-out numbers of {run.name} and {baseline.name} are of different files and are not "
                "paired; give both runs the same data.eval and evaluate.prompts."
            )


def _source(run: RunData, metric: str) -> str | None:
    """The file of the rows of a metric: by hash, or by name for the prompts that a reward was measured on."""
    section = run.config.get("evaluate")
    prompts = section.get("prompts") if isinstance(section, Mapping) else None
    if metric == "reward" and prompts:
        return str(prompts)
    held = run.data.get("eval")
    return str(held["sha256"]) if isinstance(held, Mapping) and held.get("sha256") else None
