"""Store the numbers that a run has logged so far, with the queries that the live checks need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from boresight.stats.intervals import Interval, clopper_pearson

WINDOW = 50
"""Number of latest training steps in a recent mean or median."""


FEWEST = 10
"""Minimum number of logged steps for a trend."""
LARGEST_VALUE = 1e100
"""Maximum absolute value that is averaged and drawn: squares and differences of such values are finite."""
NATS = "nats"
SCALED_BY_BETA = "(beta times nats)"
"""Unit of log-ratios in a TRL log without a known beta."""


@dataclass
class History:
    """Logged numbers as `series[split][name]`, lists of `(step, value)` in order of step.

    `steps` is the planned number of steps of the run, `step` the latest one, `eval_rows` the number of
    held-out rows, `eval_prompts` the number of their prompts (0 if unknown), and `unit` the unit of margins
    and log-ratios.
    """

    steps: int
    eval_rows: int = 0
    step: int = 0
    unit: str = NATS
    series: dict[str, dict[str, list[tuple[int, float]]]] = field(
        default_factory=lambda: {"train": {}, "eval": {}}
    )
    eval_prompts: int = 0
    penalties: frozenset[str] = frozenset()
    """Names of the parts of the reward with a negative weight, which improve as they fall."""
    broken: dict[str, int] = field(default_factory=dict)
    """First step at which a training number was NaN, infinite or missing, by its name."""

    def add(self, step: int, split: str, numbers: Mapping[str, float | None]) -> None:
        """Add one line of metrics."""
        self.step = max(self.step, step)
        known = self.series[split]
        for name, value in numbers.items():
            if is_usable(value):
                known.setdefault(name, []).append((step, float(value)))
            elif split == "train":
                self.broken.setdefault(name, step)

    @property
    def progress(self) -> float:
        """Share of the run that is done."""
        return self.step / max(1, self.steps)

    @property
    def margin_name(self) -> str:
        """Name of the metric `margin` in sentences.

        For KTO, whose rows have single answers, it is the distance from the reference point instead of a
        margin over a rejected answer.
        """
        kto = any("reference_point" in known for known in self.series.values())
        return "distance from the reference point" if kto else "margin"

    def values(self, name: str, split: str = "train") -> list[float]:
        """Return all values of a metric, in order of step."""
        return [value for _, value in self.series[split].get(name, ())]

    def recent(self, name: str, count: int = WINDOW) -> list[float]:
        """Return the last `count` values of a training metric."""
        return [value for _, value in self.series["train"].get(name, ())[-count:]]

    def first(self, name: str, count: int = 10) -> list[float]:
        """Return the first `count` values of a training metric."""
        return [value for _, value in self.series["train"].get(name, ())[:count]]

    def held_out(self, name: str) -> float | None:
        """Return the latest held-out value of a metric, or None before the first evaluation."""
        found = self.series["eval"].get(name)
        return found[-1][1] if found else None

    def held_out_share(self, name: str = "accuracy") -> Interval | None:
        """Return the latest share of held-out rows with its 95 % interval; None before an evaluation after
        step 0.

        Rows with the same prompt are not independent, so n is the number of prompts if that is known.
        """
        value = self.held_out(name)
        if value is None or not self.eval_rows or self.series["eval"][name][-1][0] == 0:
            return None
        if not 0 <= value <= 1:
            return None
        return _share(value, self.eval_prompts or self.eval_rows)

    @property
    def held_out_units(self) -> str:
        """Unit of n in `held_out_share`: `rows`, or `prompts` if several rows share a prompt."""
        return "prompts" if 0 < self.eval_prompts < self.eval_rows else "rows"

    @property
    def answers(self) -> int:
        """Number of prompts that are answered at every evaluation; 0 if the log does not contain it."""
        return int(self.held_out("answers") or 0)

    def answer_shares(self, name: str) -> tuple[Interval, Interval] | None:
        """Return the first and the latest share of answers with a property, with 95 % intervals.

        The result is None with fewer than two evaluations, or if the number of answers is unknown.
        """
        found = self.values(name, "eval")
        if len(found) < 2 or not self.answers or not all(0 <= share <= 1 for share in (found[0], found[-1])):
            return None
        return _share(found[0], self.answers), _share(found[-1], self.answers)

    def answer_means(self, name: str) -> list[tuple[float, float]]:
        """Return `(mean over answers, standard error)` of every evaluation that logged both."""
        errors = dict(self.series["eval"].get(f"{name}_error", ()))
        means = self.series["eval"].get(name, ())
        return [(value, errors[step]) for step, value in means if step in errors]

    def trend(self, name: str) -> tuple[float, float, float] | None:
        """Return the mean of the first and of the last training values, and the standard error of their
        difference.

        Each mean is over 20 values, or over half of them if there are fewer than 40; None with fewer than
        `FEWEST` values.
        """
        found = self.values(name)
        if len(found) < FEWEST:
            return None
        count = self.trend_size(name)
        early, late = found[:count], found[-count:]
        return mean(early), mean(late), math.sqrt((variance(early) + variance(late)) / count)

    def trend_size(self, name: str) -> int:
        """Return the number of values in each of the two means of `trend`."""
        return min(20, len(self.values(name)) // 2)

    def gain(self, name: str, count: int = 20) -> tuple[float, float] | None:
        """Return the mean of the last `count` training values minus that of the first, and its standard
        error.

        The result is None with fewer than 2 · `count` values.
        """
        found = self.series["train"].get(name, [])
        if len(found) < 2 * count:
            return None
        early, late = ([v for _, v in part] for part in (found[:count], found[-count:]))
        error = math.sqrt((variance(early) + variance(late)) / count)
        return mean(late) - mean(early), error


def is_usable(value: object) -> TypeGuard[float]:
    """Whether a logged value is a number that can be averaged and drawn: not NaN, and of absolute value at
    most `LARGEST_VALUE`."""
    return isinstance(value, int | float) and abs(value) <= LARGEST_VALUE


def _share(value: float, n: int) -> Interval:
    return Interval(value, *clopper_pearson(value * n, n), n)


def apart(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether two `(mean, standard error)` differ by more than two standard errors of their difference."""
    return abs(a[0] - b[0]) > 2 * math.hypot(a[1], b[1])


def mean(values: list[float]) -> float:
    """Return the arithmetic mean of at least one value."""
    return math.fsum(values) / len(values)


def variance(values: list[float]) -> float:
    """Return the sample variance of at least two values."""
    center = mean(values)
    return math.fsum((value - center) ** 2 for value in values) / (len(values) - 1)


def median(values: list[float]) -> float:
    """Return the upper median of at least one value."""
    return sorted(values)[len(values) // 2]
