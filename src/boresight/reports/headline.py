"""The result of a run in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from boresight.core.wording import is_or_are, plural
from boresight.reports.by_construction import constants_before
from boresight.reports.read_run import LogLine, Metric, RunData
from boresight.reports.same_rows import PairedDifference, paired_with_first
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
    """The start model has this value by construction."""


OF_THE_OBJECTIVE = ("accuracy", "margin", "kl_per_token", "nll_per_token")
"""What training itself optimizes or pays on held-out rows; a measured outcome comes before these."""
SIDE_EFFECTS = ("start_logp_per_token", "answer_tokens")
"""What no training aims at, in the order in which these lead where nothing else was measured."""


def headline(run: RunData) -> Headline:
    """The headline of a run. The first outcome that was measured before and after training leads; others are
    added if they are significant.

    An outcome is a reward or a check of answers; where none was measured, numbers of the objective lead,
    and side effects come last.
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
    return Headline(movement(first), evidence(first, run.units), [*_stopped(run), *resolved])


COMPARED = {
    "better": "better than",
    "worse": "worse than",
    "rose": "higher than",
    "fell": "lower than",
    "unresolved": "not significantly different from",
}


def comparison_headline(runs: Sequence[RunData]) -> str:
    """Every later run against the first in one sentence, by the metric that would lead the first one's
    report; empty where no metric is paired.

    E.g. 'Reward of greedy answers: b and c are better than a; d is not significantly different from a.'
    """
    baseline, *others = runs
    for metric in sorted(baseline.metrics, key=_rank):
        found = paired_with_first(runs, metric.name)
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
    """A key of `COMPARED`; empty where nothing is paired."""
    if found is None:
        return ""
    return direction(replace(metric, difference=found.interval)) if found.is_resolved else "unresolved"


def _subject(names: Sequence[str]) -> str:
    """'a is', 'a and b are', 'a, b and c are'."""
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"{listed} {is_or_are(len(names))}"


def _rank(metric: Metric) -> int:
    """0 for an outcome, 1 for a number of the objective, 2 and above for side effects."""
    if metric.name in SIDE_EFFECTS:
        return 2 + SIDE_EFFECTS.index(metric.name)
    return int(metric.name in OF_THE_OBJECTIVE)


def _stopped(run: RunData) -> list[str]:
    """That the guard stopped the run, where it did."""
    if run.kept_step is None:
        return []
    which = f"that of step {run.kept_step:,}" if run.kept_step else "the start model"
    return [f"The guard stopped the run at step {run.last_step:,}; the model is {which}."]


def direction(metric: Metric) -> str:
    """'better', 'worse' or 'unresolved': by the side of zero on which the difference's interval is.

    'rose' or 'fell' for a metric of which neither more nor less is better.
    """
    if metric.difference is None or not metric.difference.excludes_zero:
        return "unresolved"
    rose = metric.difference.value > 0
    if metric.better == "neither":
        return "rose" if rose else "fell"
    return "better" if rose == (metric.better != "lower") else "worse"


def movement(change: Change) -> str:
    """The change of a metric as a sentence, e.g. 'Constraints met rose from 15.0 % to 62.5 %.'"""
    told = _moved(change)
    return told[:1].upper() + told[1:]


def _moved(change: Change) -> str:
    """The same as it stands within a sentence: 'KL' keeps its capitals."""
    unit, label = unit_named(change.metric.unit), change.metric.label
    before, after = unit.value(change.before.value), unit.value(change.after.value)
    if change.is_constant_before:
        return f"{label}: {after} after training; the start model has {before} by construction."
    if direction(change.metric) == "unresolved":
        return f"{label}: no measurable change, {before} before and {after} after."
    return f"{label} {'rose' if change.difference.value > 0 else 'fell'} from {before} to {after}."


def evidence(change: Change, units: str = "prompt") -> str:
    """The paired difference with its interval as text; for an insignificant one also the number of prompts
    that would be needed. `units` is what n counts, in the singular."""
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
