"""Compare every metric of graded systems with that of the first system, and report power and warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from boresight.evaluation.graded.grading import GradedSystem
from boresight.evaluation.graded.metrics import GradedMetric, metrics_of, why_undefined
from boresight.evaluation.graded.seeds import SeedGroup, seed_groups
from boresight.evaluation.win_rate import MOST_MISSING
from boresight.stats.intervals import DIFFERENCE, Interval, holm
from boresight.stats.over_seeds import difference_by_prompt, over_seeds
from boresight.stats.paired import Measured
from boresight.stats.units import unit_named
from boresight.stats.verdict import after_holm, detectable_difference, verdict


@dataclass(frozen=True)
class RewardComparison:
    """Comparison of graded systems.

    Attributes:
        systems: the graded systems; the first is the reference.
        ks: values of k for pass@k, maj@k and best of k.
        threshold: minimum reward of a right answer; None if answers are not right or wrong.
        seeds: names of the systems in each group of training seeds, as in the recipe.
    """

    systems: tuple[GradedSystem, ...]
    ks: Sequence[int]
    threshold: float | None
    seeds: Mapping[str, Sequence[str]]

    @cached_property
    def metrics(self) -> list[GradedMetric]:
        """Metrics that can be computed from the completions; verdicts are based on the first."""
        return metrics_of(self.systems, self.ks, self.threshold)

    @cached_property
    def measured(self) -> dict[str, list[Measured]]:
        """Every metric of each system by name, compared with the reference.

        The reference itself is not included, unless it is the only system; its metrics then have no
        comparison.
        """
        first, *others = self.systems
        if not others:
            return {first.name: [metric.measured(None, first) for metric in self.metrics]}
        return {s.name: [metric.measured(first, s) for metric in self.metrics] for s in others}

    @property
    def graded_by(self) -> str:
        """A sentence with the names of the rewards and the minimum reward of a right answer."""
        names = dict.fromkeys(name for system in self.systems for one in system.all for name in one.rewards)
        right = "" if self.threshold is None else f"; right from a reward of {self.threshold:g}"
        return f"Graded by {' + '.join(names)}{right}."

    @cached_property
    def seed_groups(self) -> list[SeedGroup]:
        """The first metric over training seeds, for each group of systems in `seeds`."""
        return seed_groups(self.systems, self.seeds, self.metrics[0])

    @cached_property
    def verdicts(self) -> list[str]:
        """A verdict on each system but the reference, by the first metric, after Holm's adjustment."""
        _, *others = self.systems
        adjusted = holm([self._p(system) for system in others])
        return [
            self._verdict(system, p if len(others) > 1 else None)
            for system, p in zip(others, adjusted, strict=True)
        ]

    @cached_property
    def notes(self) -> list[str]:
        """Warnings about missing scores, truncated completions, undefined metrics, and grades that depend on
        how the answer was extracted."""
        odd = [sentence for system in self.systems for sentence in _oddities(system)]
        bounds = [said for system in self.systems if (said := self._within_bounds(system))]
        return [*bounds, *odd, *why_undefined(self.systems, self.ks, self.threshold)]

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `evaluation.json`."""
        several = len(self.measured) > 1
        metrics = [
            {**one.as_dict(), "name": f"{one.name}:{name}" if several else one.name}
            for name, measured in self.measured.items()
            for one in measured
        ]
        return {
            "metrics": metrics,
            "verdicts": self.verdicts,
            "notes": self.notes,
            "correct_at": self.threshold,
            "systems": {system.name: self._numbers(system) for system in self.systems},
            "seeds": {group.name: group.as_dict() for group in self.seed_groups},
        }

    def _numbers(self, system: GradedSystem) -> dict[str, Any]:
        return {
            "metrics": {metric.name: _with_bounds(metric, system) for metric in self.metrics},
            "failures": _counts("reason", Counter(one.failure for one in system.all if one.failure)),
            "decided_by_reading": _counts("rule", decided_by_reading(system)),
        }

    def _within_bounds(self, system: GradedSystem) -> str:
        """Return a sentence with the first metric for all missing outcomes wrong, and for all of them right.

        It is empty if no outcome is missing or if the values have no bounds.
        """
        metric = self.metrics[0]
        interval, bounds = metric.interval(system), metric.bounds(system)
        if interval is None or bounds is None or not interval.missing:
            return ""
        low, high = (unit_named(metric.unit).value(bound) for bound in bounds)
        return (
            f"{system.name}: {metric.label} would be {low} if all that is missing were wrong, and {high} if "
            "it were right."
        )

    def _p(self, system: GradedSystem) -> float:
        """Return the two-sided p-value of a system's difference from the reference in the first metric.

        It is 1 if no prompt has a value for both.
        """
        metric, first = self.metrics[0], self.systems[0]
        difference = difference_by_prompt(metric.by_prompt(first), metric.by_prompt(system))
        if all(value != value for value in difference.values()):
            return 1.0
        bounds = None if metric.limits(first, system) is None else DIFFERENCE
        return over_seeds([difference], bounds=bounds).p

    def lacking(self, system: GradedSystem) -> list[str]:
        """Return which of the reference and `system` have too many missing scores for a verdict, by name."""
        compared = (self.systems[0], system)
        return [s.name for s in compared if _share_missing(self.metrics[0], s) > MOST_MISSING]

    def _verdict(self, system: GradedSystem, p: float | None) -> str:
        metric, first = self.metrics[0], self.systems[0]
        difference, lacking = self.measured[system.name][0].difference, self.lacking(system)
        if difference is None or lacking:
            why = (
                "no prompt has both"
                if difference is None
                else f"of {lacking[0]} more than a tenth is missing"
            )
            return f"No verdict on {system.name} against {first.name} by {metric.label}: {why}."
        said = verdict(difference, first.name, system.name, metric.unit, metric.better)
        return (said if p is None else after_holm(said, p, difference.excludes_zero)) + _power(
            metric, difference
        )


def decided_by_reading(system: GradedSystem) -> Counter[str]:
    """Return, for every rule of answer extraction, the number of completions whose grade depends on it."""
    readings = [one.reading for one in system.all if one.reading is not None]
    return Counter(rule for reading in readings for rule in reading.decided_by)


def _counts(name: str, counts: Counter[str]) -> list[dict[str, Any]]:
    """Return `{name: word, "completions": count}` for every counted word, the most frequent first.

    Words come from reward functions and may be any text, so they are values of the dictionary and not keys.
    """
    return [{name: word, "completions": count} for word, count in counts.most_common()]


def _power(metric: GradedMetric, difference: Interval) -> str:
    """Return a sentence with the smallest difference that is significant with 80 % power on as many prompts.

    It is empty if the interval of `difference` is infinite.
    """
    least = detectable_difference(difference)
    if least is None:
        return ""
    size = unit_named(metric.unit).difference(least)
    return f" {difference.n:,} prompts suffice for a significant difference of {size} with a power of 80 %."


def _share_missing(metric: GradedMetric, system: GradedSystem) -> float:
    values = [value for of_prompt in system.by_prompt for value in metric.values(of_prompt)]
    return sum(value is None for value in values) / len(values)


def _with_bounds(metric: GradedMetric, system: GradedSystem) -> dict[str, Any] | None:
    """Return a metric's interval, with its values for all missing outcomes wrong, and for all of them right.

    The result is None if no value is known.
    """
    interval = metric.interval(system)
    if interval is None:
        return None
    bounds = metric.bounds(system) if interval.missing else None
    return {**interval.as_dict(), "if_missing_wrong_and_right": bounds}


def _oddities(system: GradedSystem) -> Iterator[str]:
    """Yield sentences that count missing scores, ranks and answers, truncated completions, and grades that
    depend on how the answer was extracted."""
    total = len(system.all)
    if failures := Counter(one.failure for one in system.all if one.failure):
        (commonest, _), *_ = failures.most_common(1)
        said = f"{system.name}: {failures.total():,} of {total:,} completions without a score"
        yield f"{said}, most often because: {commonest.rstrip('.')}."
    read = [one.reading is not None for one in system.all if one.response.text is not None]
    if any(read) and not all(read):
        yield f"{system.name}: the reading function raised on {read.count(False):,} of {total:,} completions."
    ranked = [one.rank is not None for one in system.all if one.response.text is not None]
    if any(ranked) and not all(ranked):
        yield f"{system.name}: {ranked.count(False):,} of {total:,} completions have no rank."
    if truncated := sum(one.response.truncated is True for one in system.all):
        yield f"{system.name}: {truncated:,} of {total:,} completions are truncated."
    if rules := decided_by_reading(system):
        listed = ", ".join(f"{count:,} by “{rule}”" for rule, count in rules.most_common())
        yield f"{system.name}: the grade of {listed}, of {total:,} completions, depends on the extraction."
