"""Metrics of graded completions, such as accuracy and pass@k, with intervals over prompts.

The completions of a prompt are one cluster. A metric is missing for a prompt with too few scored completions.
`GradedMetric.bounds` are the values of a metric if all missing outcomes are wrong, and if all are right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from boresight.data.reading.same_prompt import prompt_key
from boresight.evaluation.graded.grading import GradedResponse, GradedSystem
from boresight.scorers.correctness import is_right
from boresight.stats.intervals import (
    Bounds,
    Interval,
    Value,
    bounds_of,
    clustered_mean,
    clustered_share,
    paired_difference,
    pass_at_k,
)
from boresight.stats.paired import Measured
from boresight.stats.subsets import best_of_k, majority_at_k
from boresight.tasks.reading import AnswerReading

Outcome = Callable[[GradedResponse], Value]
"""Function that returns the value of one completion for a metric; None if it is missing."""
Combine = Callable[[Sequence[Value], Sequence[GradedResponse], Value], list[Value]]
"""Function that combines the outcomes of one prompt's completions into the values that are averaged.

It is called with the outcomes, the completions, and the replacement of a missing value (None for none), and
returns either one value per completion or a single value.
"""


@dataclass(frozen=True)
class GradedMetric:
    """A metric: a function for the value of a completion, and one that combines the values of a prompt."""

    name: str
    label: str
    outcome: Outcome
    combine: Combine
    unit: str = "share"
    better: str = "higher"

    def values(self, of_prompt: Sequence[GradedResponse], missing: Value = None) -> list[Value]:
        """Return the values of one prompt; missing outcomes are replaced by `missing` unless it is None."""
        outcomes = [missing if (known := self.outcome(g)) is None else known for g in of_prompt]
        return self.combine(outcomes, of_prompt, missing)

    def by_prompt(self, system: GradedSystem) -> dict[str, Value]:
        """Return the mean of each prompt; None if it has no value. Keys are the same for all systems."""
        return {
            prompt_key(prompt): _mean(self.values(of_prompt))
            for prompt, of_prompt in zip(system.prompts, system.by_prompt, strict=True)
        }

    def interval(self, system: GradedSystem) -> Interval | None:
        """Return the mean with an interval, clustered by prompt; None if no value is known."""
        values = [self.values(of_prompt) for of_prompt in system.by_prompt]
        if all(value is None for of_prompt in values for value in of_prompt):
            return None
        return clustered_mean(values) if self.limits(system) is None else clustered_share(values)

    def bounds(self, system: GradedSystem) -> tuple[float, float] | None:
        """Return the means with all missing outcomes 0, and with all of them 1; None for unbounded values."""
        if self.limits(system) is None:
            return None
        filled = [[self.values(p, missing) for p in system.by_prompt] for missing in (0.0, 1.0)]
        low, high = (_mean([v for of_prompt in values for v in of_prompt]) for values in filled)
        return None if low is None or high is None else (float(low), float(high))

    def limits(self, *systems: GradedSystem) -> Bounds | None:
        """Return the minimum and maximum possible value; None if the values are unbounded."""
        values = (v for system in systems for p in system.by_prompt for v in self.values(p))
        return bounds_of(self.unit, values)

    def measured(self, before: GradedSystem | None, after: GradedSystem) -> Measured:
        """Return the metric of `after` and, unless `before` is None, of `before` with the difference.

        The difference is paired by prompt.
        """
        return Measured(
            name=self.name,
            label=self.label,
            unit=self.unit,
            better=self.better,
            before=None if before is None else self.interval(before),
            after=self.interval(after),
            difference=None if before is None else self._difference(before, after),
        )

    def _difference(self, before: GradedSystem, after: GradedSystem) -> Interval | None:
        a, b = self.by_prompt(before), self.by_prompt(after)
        if not any(a.get(key) is not None and b[key] is not None for key in b):
            return None
        return paired_difference(a, b, bounds=self.limits(before, after))


def metrics_of(
    systems: Sequence[GradedSystem], ks: Sequence[int], threshold: float | None
) -> list[GradedMetric]:
    """Return the metrics that can be computed from the completions; `why_undefined` names the others.

    The first, by which systems are compared, is the accuracy, or the reward without a threshold. Accuracy and
    pass@k need a threshold, maj@k and the format rate need extracted answers, best of k needs ranks.
    """
    graded = [one for system in systems for one in system.all]
    rewards = {one.reward for one in graded if one.reward is not None}
    total = _rate("reward", "reward", _reward, unit="reward")
    found = [total] if threshold is None else [_rate("accuracy", "accuracy", right_at(threshold))]
    if any(one.reading is not None for one in graded):
        found.append(_rate("format_rate", "format rate", _formatted))
    if threshold is not None and not rewards <= {0.0, 1.0}:
        found.append(total)
    parts = list(dict.fromkeys(name for one in graded for name in one.rewards))
    found += [_part(name) for name in parts if len(parts) > 1]
    found += [metric for k in ks if k > 1 for metric in _at_k(k, graded, threshold)]
    if any(one.response.truncated is not None for one in graded):
        found.append(_rate("truncated", "truncated", _truncated, better="lower"))
    return found


def why_undefined(systems: Sequence[GradedSystem], ks: Sequence[int], threshold: float | None) -> list[str]:
    """Return a sentence for every kind of metric that cannot be computed from the completions."""
    graded = [one for system in systems for one in system.all]
    without = []
    if threshold is None:
        without.append(
            "Accuracy, pass@k and maj@k are not defined: rewards lie outside of 0 to 1; set correct_at to "
            "the smallest reward of a right answer."
        )
    if all(one.reading is None for one in graded):
        what = "maj@k and the format rate are" if max(ks) > 1 else "The format rate is"
        without.append(
            f"{what} not defined for this reward, which does not define the answer of a completion; set "
            "reading to a function that does."
        )
    unknown = (s.name for s in systems if all(one.response.truncated is None for one in s.all))
    return [*without, *(f"{name}: how many completions are truncated is not known." for name in unknown)]


def right_at(threshold: float) -> Outcome:
    """Return the outcome function of correctness: whether the reward of a completion reaches `threshold`."""
    return lambda graded: is_right(graded.reward, threshold)


def _at_k(k: int, graded: Sequence[GradedResponse], threshold: float | None) -> Iterator[GradedMetric]:
    """Yield the metrics over k completions per prompt that are defined: pass@k, maj@k, best of k."""
    if threshold is not None:
        right = right_at(threshold)
        yield GradedMetric(f"pass_at_{k}", f"pass@{k}", right, _pass_at(k))
        if any(one.reading is not None for one in graded):
            yield GradedMetric(f"majority_at_{k}", f"maj@{k}", right, _majority_at(k))
    if any(one.rank is not None for one in graded):
        outcome, unit = (_reward, "reward") if threshold is None else (right_at(threshold), "share")
        yield GradedMetric(f"best_of_{k}", f"best of {k}", outcome, _best_of(k), unit)


def _rate(
    name: str, label: str, outcome: Outcome, unit: str = "share", better: str = "higher"
) -> GradedMetric:
    """Return a metric that is the mean of an outcome over completions."""
    return GradedMetric(name, label, outcome, lambda outcomes, _, __: list(outcomes), unit, better)


def _part(name: str) -> GradedMetric:
    """Return the metric for the mean of one of several rewards, without its weight."""
    return _rate(f"reward.{name}", f"reward {name}", lambda graded: graded.rewards.get(name), unit="reward")


def _reward(graded: GradedResponse) -> Value:
    return graded.reward


def _formatted(graded: GradedResponse) -> Value:
    return None if graded.reading is None else graded.reading.formatted


def _truncated(graded: GradedResponse) -> Value:
    return graded.response.truncated


def _pass_at(k: int) -> Combine:
    def combine(outcomes: Sequence[Value], _: Sequence[GradedResponse], missing: Value) -> list[Value]:
        known = [bool(outcome) for outcome in outcomes if outcome is not None]
        return [pass_at_k(len(known), sum(known), k) if len(known) >= k else missing]

    return combine


def _majority_at(k: int) -> Combine:
    return _chosen(k, lambda one: one.reading, lambda v, readings: majority_at_k(v, _answers(readings), k))


def _best_of(k: int) -> Combine:
    return _chosen(k, lambda one: one.rank, lambda values, ranks: best_of_k(values, ranks, k))


def _chosen(
    k: int,
    choice: Callable[[GradedResponse], Any],
    expected: Callable[[Sequence[float], Sequence[Any]], float],
) -> Combine:
    """Return a function that gives a prompt the expected value of the completion chosen from k.

    Completions without an outcome or a choice are dropped. A prompt with fewer than k others is missing. For
    bounds, when missing values are replaced, a completion without a choice makes its whole prompt missing.

    Args:
        choice: returns what a completion is chosen by, such as its rank; None if it is missing.
        expected: returns the expected value, given the values and choices of all completions of a prompt.
    """

    def combine(outcomes: Sequence[Value], graded: Sequence[GradedResponse], missing: Value) -> list[Value]:
        by = [choice(one) for one in graded]
        known = [(float(v), c) for v, c in zip(outcomes, by, strict=True) if v is not None and c is not None]
        if len(known) < k or (missing is not None and None in by):
            return [missing]
        values, choices = zip(*known, strict=True)
        return [expected(values, choices)]

    return combine


def _answers(readings: Sequence[AnswerReading]) -> list[str | None]:
    return [reading.answer for reading in readings]


def _mean(values: Sequence[Value]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None
