"""The numbers that a run has logged so far, with the queries that the live checks need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from boresight.stats.intervals import Interval, clopper_pearson

WINDOW = 50
"""Training steps of a recent mean or median."""


FEWEST = 10
"""Fewest logged steps for a trend."""
LARGEST_VALUE = 1e100
"""Largest absolute value that is averaged and drawn: squares and differences of such values are finite."""
NATS = "nats"
SCALED_BY_BETA = "(beta times nats)"
"""Unit of log-ratios in a log of TRL whose beta is not known."""


@dataclass
class History:
    """Logged numbers by split and name, in order of step.

    `steps` is the planned length of the run, `eval_rows` the number of held-out rows behind a share,
    `eval_prompts` that of their prompts (0 where unknown), `unit` the unit of margins and log-ratios.
    """

    steps: int
    eval_rows: int = 0
    step: int = 0
    unit: str = NATS
    series: dict[str, dict[str, list[tuple[int, float]]]] = field(
        default_factory=lambda: {"train": {}, "eval": {}}
    )
    eval_prompts: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    """Step at which a number was first NaN, infinite or missing, by its name."""

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
        """Label of `margin`: for single answers (KTO) it is not a lead over a rejected answer."""
        kto = any("reference_point" in known for known in self.series.values())
        return "distance from the reference point" if kto else "margin"

    def values(self, name: str, split: str = "train") -> list[float]:
        """Every value of a metric."""
        return [value for _, value in self.series[split].get(name, ())]

    def recent(self, name: str, count: int = WINDOW) -> list[float]:
        """The last `count` values of a training metric."""
        return [value for _, value in self.series["train"].get(name, ())[-count:]]

    def first(self, name: str, count: int = 10) -> list[float]:
        """The first `count` values of a training metric."""
        return [value for _, value in self.series["train"].get(name, ())[:count]]

    def held_out(self, name: str) -> float | None:
        """The latest held-out value, None before the first."""
        found = self.series["eval"].get(name)
        return found[-1][1] if found else None

    def held_out_share(self, name: str = "accuracy") -> Interval | None:
        """Latest share of the held-out rows with its 95 % interval; None before one step is done.

        Rows of one prompt are not independent, so n counts prompts where it is known that some share one.
        """
        value = self.held_out(name)
        if value is None or not self.eval_rows or self.series["eval"][name][-1][0] == 0:
            return None
        if not 0 <= value <= 1:
            return None
        return _share(value, self.eval_prompts or self.eval_rows)

    @property
    def held_out_units(self) -> str:
        """What n counts in `held_out_share`: rows, or prompts that several rows share."""
        return "prompts" if 0 < self.eval_prompts < self.eval_rows else "rows"

    @property
    def answers(self) -> int:
        """Prompts that are answered at every evaluation; 0 where the log does not give their number."""
        return int(self.held_out("answers") or 0)

    def answer_shares(self, name: str) -> tuple[Interval, Interval] | None:
        """First and latest share of answers with a property, with 95 % intervals; None with fewer than two
        evaluations or if n is unknown."""
        found = self.values(name, "eval")
        if len(found) < 2 or not self.answers or not all(0 <= share <= 1 for share in (found[0], found[-1])):
            return None
        return _share(found[0], self.answers), _share(found[-1], self.answers)

    def answer_means(self, name: str) -> list[tuple[float, float]]:
        """Means over the answers of each evaluation and their standard errors, as far as both are logged."""
        errors = dict(self.series["eval"].get(f"{name}_error", ()))
        means = self.series["eval"].get(name, ())
        return [(value, errors[step]) for step, value in means if step in errors]

    def trend(self, name: str) -> tuple[float, float, float] | None:
        """Mean of the first and of the last values of training, and the standard error of their difference.

        Twenty values each, or half of them where there are fewer; None below `FEWEST`.
        """
        found = self.values(name)
        if len(found) < FEWEST:
            return None
        count = self.trend_size(name)
        early, late = found[:count], found[-count:]
        return mean(early), mean(late), math.sqrt((variance(early) + variance(late)) / count)

    def trend_size(self, name: str) -> int:
        """How many values each of the two means of `trend` covers."""
        return min(20, len(self.values(name)) // 2)

    def gain(self, name: str, count: int = 20) -> tuple[float, float] | None:
        """Mean of the last `count` training values minus that of the first `count`, and its standard error.

        None with fewer than twice as many values.
        """
        found = self.series["train"].get(name, [])
        if len(found) < 2 * count:
            return None
        early, late = ([v for _, v in part] for part in (found[:count], found[-count:]))
        error = math.sqrt((variance(early) + variance(late)) / count)
        return mean(late) - mean(early), error


def is_usable(value: object) -> TypeGuard[float]:
    """Whether a logged value is a number that can be averaged and drawn: neither NaN nor infinite or as
    good as infinite."""
    return isinstance(value, int | float) and abs(value) <= LARGEST_VALUE


def _share(value: float, n: int) -> Interval:
    return Interval(value, *clopper_pearson(value * n, n), n)


def apart(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether two means, each `(mean, standard error)`, differ by more than two standard errors of the
    difference."""
    return abs(a[0] - b[0]) > 2 * math.hypot(a[1], b[1])


def mean(values: list[float]) -> float:
    """Arithmetic mean of at least one value."""
    return math.fsum(values) / len(values)


def variance(values: list[float]) -> float:
    """Sample variance of at least two values."""
    center = mean(values)
    return math.fsum((value - center) ** 2 for value in values) / (len(values) - 1)


def median(values: list[float]) -> float:
    """The upper median of at least one value."""
    return sorted(values)[len(values) // 2]
