"""Compare runs on the same held-out rows: differences of their numbers after training, paired by row, or by
prompt where several rows share one.

Two intervals that overlap say little about a difference: rows that are hard for one run are hard for the
other, and that part of the spread cancels in a pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from boresight.reports.read_run import Metric, RunData
from boresight.stats.intervals import DIFFERENCE, SIGNIFICANCE_LEVEL, Interval, bounds_of, holm
from boresight.stats.over_seeds import OverSeeds, difference_over_seeds
from boresight.stats.paired import DuplicatePrompts, one_per_prompt
from boresight.stats.units import Unit, unit_named
from boresight.stats.verdict import after_holm, needed_prompts_in_words

OF_ANSWERS = {"reward", "answer_tokens", "start_logp_per_token"}
"""Metrics of answers, whose rows are the prompts of `evaluate.prompts` if the recipe has them."""


@final  # without subclasses, `found and found.interval` is an interval or None to a type checker
@dataclass(frozen=True)
class PairedDifference:
    """Paired difference of a metric, later run minus first run, over the rows that both have.

    `p` is adjusted by Holm's method over the later runs.
    """

    interval: Interval
    p: float
    alone: bool
    """Whether the metric has only this comparison, so that `p` is not adjusted."""

    @property
    def is_resolved(self) -> bool:
        """Whether the difference is significant: by its interval, and among several comparisons by its
        adjusted p too."""
        return self.interval.excludes_zero and (self.alone or self.p < SIGNIFICANCE_LEVEL)


def differences_by_row(runs: Sequence[RunData]) -> list[str]:
    """Return a sentence per metric and later run, each compared with the first run.

    Only metrics of the same name, label and unit are compared, and only rows of the same file. p-values are
    adjusted over the later runs within a metric.
    """
    baseline, *others = runs
    sentences = []
    for metric in baseline.metrics:
        for run, found in zip(others, paired_with_first(runs, metric), strict=True):
            if found is not None:
                said = _sentence(metric, baseline, run, found.interval)
                sentences.append(
                    said if found.alone else after_holm(said, found.p, found.interval.excludes_zero)
                )
    alone = _means_alone(baseline, others) if sentences else []
    return [*sentences, *alone, *_not_compared(baseline, others)]


def paired_with_first(runs: Sequence[RunData], metric: Metric) -> list[PairedDifference | None]:
    """The difference of a metric for each later run; None where both do not have its quantity, the same file
    and two rows of it."""
    baseline, *others = runs
    if all(own.quantity != metric.quantity for own in baseline.metrics):
        return [None for _ in others]
    found = [_difference(metric, baseline, run) for run in others]
    adjusted = iter(holm([d.p for d in found if d is not None]))
    return [d and PairedDifference(d.mean, next(adjusted), alone=len(others) == 1) for d in found]


def _difference(metric: Metric, a: RunData, b: RunData) -> OverSeeds | None:
    """b minus a of a metric over the rows of both; None where they share no metric, file or two rows."""
    alike = any(own.quantity == metric.quantity for own in b.metrics) and _same_reward(metric.name, a, b)
    ours, theirs = (rows_of(run, metric.name) for run in (a, b))
    same_rows = _source(a, metric.name) == _source(b, metric.name) is not None
    known = [id for id in ours if id in theirs and not math.isnan(ours[id] + theirs[id])]
    if not alike or not same_rows or len(known) < 2:
        return None
    shared = [{id: values[id] for id in ours if id in theirs} for values in (ours, theirs)]
    graded = bounds_of(metric.unit, [value for values in shared for value in values.values()])
    same = _same_prompts(metric.name, a, b)
    if any(id in same for id in known):
        shared = [one_per_prompt({id: values[id] for id in known}, same) for values in shared]
        if len(shared[0]) < 2:
            return None
    return difference_over_seeds(shared[:1], shared[1:], bounds=DIFFERENCE if graded else None)


def _same_reward(metric: str, a: RunData, b: RunData) -> bool:
    """Whether the numbers of a metric are of the same reward, where they are rewards: functions, options and
    weights."""
    return metric != "reward" or a.config.get("reward") == b.config.get("reward")


def _same_prompts(metric: str, a: RunData, b: RunData) -> DuplicatePrompts:
    """Return the rows that share a prompt with an earlier row; empty if a run does not store them."""
    if a.same_prompts is None or b.same_prompts is None:
        return {}
    return a.same_prompts.of(metric)


def rows_of(run: RunData, metric: str) -> Mapping[str, float]:
    """Return the values of a metric after training by row: held-out numbers, or results of a check."""
    by_check = {s.id: float(s.checks[-1][metric]) for s in run.samples if metric in s.checks[-1]}
    return run.by_row.get(metric) or by_check


def _sentence(metric: Metric, a: RunData, b: RunData, found: Interval) -> str:
    """Return the sentence on one difference.

    E.g. 'Held-out accuracy: b against a +6.2 points [1.0, 11.4], n = 64, paired by row.'
    """
    unit: Unit = unit_named(metric.unit)
    label = metric.subject[:1].upper() + metric.subject[1:]
    if metric.name == "answer_tokens" and any(s.cut_at and s.cut_at[-1] for s in [*a.samples, *b.samples]):
        label += ", of which the token limit cut some"
    ids = rows_of(a, metric.name).keys() & rows_of(b, metric.name).keys()
    by = "row" if ids.isdisjoint(_same_prompts(metric.name, a, b)) else "prompt"
    if found.low == found.high == 0:
        return f"{label}: {b.name} and {a.name} are equal on all {found.n:,} {by}s."
    said = f"{label}: {b.name} against {a.name} {unit.change(found)}, n = {found.n:,}, paired by {by}"
    return f"{said}." if found.excludes_zero else f"{said}: {needed_prompts_in_words(found, unit)}."


def _not_compared(baseline: RunData, others: Sequence[RunData]) -> Iterator[str]:
    for run in others:
        names = [m.name for m in baseline.metrics if rows_of(baseline, m.name) and rows_of(run, m.name)]
        if any(_source(baseline, name) != _source(run, name) for name in names):
            yield (
                f"Held-out numbers of {run.name} and {baseline.name} are of different files and are not "
                "paired; give both runs the same data.eval and evaluate.prompts."
            )
        if not all(_same_reward(name, baseline, run) for name in names):
            yield (
                f"Rewards of {run.name} and {baseline.name} are of different functions, options or weights "
                "and are not compared; `boresight evaluate eval-reward` measures both models by one reward."
            )


def _means_alone(baseline: RunData, others: Sequence[RunData]) -> list[str]:
    """Return a list with the sentence on metrics of which only means are stored; empty if there are none."""
    theirs = {metric.name for run in others for metric in run.metrics}
    alone = [m.label for m in baseline.metrics if m.name in theirs and not rows_of(baseline, m.name)]
    said = f"Without a difference, since only the mean of a run is stored: {'; '.join(alone)}."
    return [said] if alone else []


def _source(run: RunData, metric: str) -> str | None:
    """Return an identifier of the file with the rows of a metric; None if it is unknown.

    It is the hash with `data.columns` for held-out rows, and the name of `evaluate.prompts` for answers.
    """
    section = run.config.get("evaluate")
    prompts = section.get("prompts") if isinstance(section, Mapping) else None
    if prompts and (metric in OF_ANSWERS or metric not in run.by_row):
        return str(prompts)
    held = run.data.get("eval")
    if not isinstance(held, Mapping) or not held.get("sha256"):
        return None
    return f"{held['sha256']} {held['columns']}" if "columns" in held else str(held["sha256"])
