"""The result of a run in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from boresight.core.wording import is_or_are, plural
from boresight.reports.by_construction import constants_before
from boresight.reports.facts import lookup
from boresight.reports.read_run import LogLine, Metric, RunData
from boresight.reports.same_rows import PairedDifference, paired_with_first
from boresight.reports.samples.cut import STARTER, again_with_more_tokens
from boresight.stats.intervals import Interval
from boresight.stats.units import unit_named
from boresight.stats.verdict import needed_prompts_in_words


@dataclass(frozen=True)
class Headline:
    """One sentence with the main result, one with its numbers, and sentences about other metrics that
    changed."""

    title: str
    detail: str
    asides: list[str]


@dataclass(frozen=True)
class Change:
    """A metric that was measured before and after training, with the paired difference."""

    metric: Metric
    before: Interval
    after: Interval
    difference: Interval
    is_constant_before: bool = False
    """Whether the value before training is known by construction."""


OF_THE_OBJECTIVE = ("accuracy", "margin", "kl_per_token", "nll_per_token")
"""Metrics of held-out rows that training itself optimizes or penalizes; outcomes come before these."""
SIDE_EFFECTS = ("start_logp_per_token", "answer_tokens")
"""Metrics that no training aims at, in the order in which they lead if nothing else was measured."""


def headline(run: RunData) -> Headline:
    """Return the headline of a run.

    The first outcome that was measured before and after training leads. An outcome is a reward or a check of
    answers; without any, metrics of the objective lead, and side effects come last. Other metrics are added
    if their change is significant.
    """
    constants = constants_before(run.metrics)
    changes = [
        Change(m, m.before, m.after, m.difference, m.name in constants)
        for m in sorted(run.metrics, key=_rank)
        if m.before and m.after and m.difference
    ]
    if not changes:
        return _unevaluated(run)
    first, *others = changes
    resolved = [_other_change(change) for change in others if direction(change.metric) != "unresolved"]
    asides = [*guard_sentences(run), *mostly_cut(run), *resolved]
    return Headline(movement(first), evidence(first, run.units), asides)


COMPARED = {
    "better": "better than",
    "worse": "worse than",
    "rose": "higher than",
    "fell": "lower than",
    "unresolved": "not significantly different from",
}


def comparison_headline(runs: Sequence[RunData]) -> str:
    """Compare every later run with the first in one sentence; '' if no metric is paired.

    The metric is the first one, in the order of the first run's report, that is paired for any later run.

    E.g. 'Reward of greedy answers: b and c are better than a; d is not significantly different from a.'
    """
    baseline, *others = runs
    for metric in sorted(baseline.metrics, key=_rank):
        found = paired_with_first(runs, metric)
        if any(found):
            ways = [_compared(metric, difference) for difference in found]
            parts = [
                f"{_subject([run.name for run, each in zip(others, ways, strict=True) if each == way])} "
                f"{COMPARED[way]} {baseline.name}"
                for way in COMPARED
                if way in ways
            ]
            if missing := [run.name for run, each in zip(others, ways, strict=True) if not each]:
                parts.append(f"{_subject(missing)} not compared")
            return f"{metric.label[:1].upper()}{metric.label[1:]}: {'; '.join(parts)}."
    return ""


def _compared(metric: Metric, found: PairedDifference | None) -> str:
    """Return the result of a comparison as a key of `COMPARED`; '' if nothing is paired."""
    if found is None:
        return ""
    return direction(replace(metric, difference=found.interval)) if found.is_resolved else "unresolved"


def _subject(names: Sequence[str]) -> str:
    """Return names with their verb: 'a is', 'a and b are', 'a, b and c are'."""
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"{listed} {is_or_are(len(names))}"


def _rank(metric: Metric) -> int:
    """Return the sort key of a metric: 0 for outcomes, 1 for the objective, 2 and above for side effects."""
    if metric.name in SIDE_EFFECTS:
        return 2 + SIDE_EFFECTS.index(metric.name)
    return int(metric.name in OF_THE_OBJECTIVE)


def guard_sentences(run: RunData) -> list[str]:
    """Return a list with a sentence on the step of the model if the guard stopped the run; else empty."""
    if run.kept_step is None:
        return []
    which = f"that of step {run.kept_step:,}" if run.kept_step else "the start model"
    return [f"The guard stopped the run at step {run.last_step:,}; the model is {which}."]


def mostly_cut(run: RunData) -> list[str]:
    """Return a list with a sentence if the token limit cut half of the answers after training or more; else
    empty."""
    limits = [sample.cut_at[-1] for sample in run.samples if sample.cut_at and sample.cut_at[-1]]
    if not limits or 2 * len(limits) < len(run.samples):
        return []
    start = str(lookup(run.config, "model", "name") or STARTER)
    command = again_with_more_tokens(run.folder, 2 * max(limits), start)
    return [
        f"The limit of {max(limits):,} tokens cut {len(limits):,} of {len(run.samples):,} answers after "
        f"training, so neither their ends nor their lengths are known; `{command}` gives the same prompts "
        "more tokens."
    ]


def direction(metric: Metric) -> str:
    """Return 'better' or 'worse' if the change of a metric is significant, else 'unresolved'.

    If the metric has no better direction, the result is 'rose' or 'fell' in place of 'better' or 'worse'.
    """
    if metric.difference is None or not metric.difference.excludes_zero:
        return "unresolved"
    rose = metric.difference.value > 0
    if metric.better == "neither":
        return "rose" if rose else "fell"
    return "better" if rose == (metric.better != "lower") else "worse"


def movement(change: Change) -> str:
    """Return the change of a metric as a sentence, e.g. 'Constraints met rose from 15.0 % to 62.5 %.'"""
    told = _moved(change)
    return told[:1].upper() + told[1:]


def _moved(change: Change) -> str:
    """Return the change of a metric as a sentence whose label keeps its case, such as 'KL'."""
    unit, label = unit_named(change.metric.unit), change.metric.label
    before, after = unit.value(change.before.value), unit.value(change.after.value)
    if change.is_constant_before:
        return f"{label}: {after} after training; the start model has {before} by construction."
    if direction(change.metric) == "unresolved":
        return f"{label}: no measurable change, {before} before and {after} after."
    return f"{label} {'rose' if change.difference.value > 0 else 'fell'} from {before} to {after}."


def evidence(change: Change, units: str = "prompt") -> str:
    """Return the paired difference with its interval as a sentence.

    If the difference is not significant, the sentence also has the number of prompts that would be needed.

    Args:
        units: what n counts, in the singular.
    """
    unit, difference = unit_named(change.metric.unit), change.difference
    sentence = f"{unit.change(difference)} at 95 %, paired over {plural(difference.n, units)}"
    if difference.missing:
        sentence += f" ({difference.missing:,} missing)"
    if not difference.excludes_zero:
        sentence += f": {needed_prompts_in_words(difference, unit)}"
    return sentence + "."


def _other_change(change: Change) -> str:
    worse = direction(change.metric) == "worse"
    told = (f"But {_moved(change)}" if worse else movement(change))[:-1]
    return f"{told} ({unit_named(change.metric.unit).change(change.difference)})."


def _unevaluated(run: RunData) -> Headline:
    title = "This run has not been evaluated." if run.finished else "This run has not finished."
    if run.finished and run.metrics:
        title = "There is no interval: fewer than two held-out prompts have a value."
    if not run.train:
        return Headline(title, "No training step has been logged.", [])
    last = run.train[-1]
    numbers = ", ".join(f"{name} {last[name]:.3g}" for name in _logged_metrics(last))
    return Headline(
        title, f"The last logged step is {run.last_step:,}" + (f": {numbers}." if numbers else "."), []
    )


def _logged_metrics(line: LogLine) -> Sequence[str]:
    return [
        name for name in ("loss", "accuracy", "margin", "reward") if isinstance(line.get(name), (int, float))
    ]
