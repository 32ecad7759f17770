"""Compare held-out changes against the start model with the bounds of `train.guard`.

readings(bounds, before, now)      # one per bound that can be tested
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from boresight.config.guard import GuardSection
from boresight.stats.intervals import Interval, mean_interval, paired_difference
from boresight.stats.paired import ByRow, DuplicatePrompts, SamePrompts, mean_of_known, one_per_prompt
from boresight.stats.units import unit_named

WORKING, LOOPING = 0.5, 0.25
"""Shares of the start model's answers that are required to test a change of these shares: at least `WORKING`
must end, and fewer than `LOOPING` may loop."""

Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """A measured change against the start model, with its interval and the bound on it."""

    field: str
    """Name of the bound in `train.guard`."""
    what: str
    unit: str
    change: Interval
    bound: float

    @property
    def inside(self) -> bool:
        """Whether the estimate is within the bound."""
        return self.change.value <= self.bound

    @property
    def exceeded(self) -> bool:
        """Whether the whole interval is above the bound."""
        return self.change.low > self.bound

    def __str__(self) -> str:
        """Return text such as `KL to the start model: 0.41 nats per token [0.30, 0.52] of 16, more than 0.2
        (train.guard.kl)`."""
        unit = unit_named(self.unit)
        measured = f"{unit.lead(self.change)} of {self.change.n:,}"
        return f"{self.what}: {measured}, more than {unit.difference(self.bound)} (train.guard.{self.field})"


def readings(
    bounds: GuardSection, before: ByRow, now: ByRow, same: SamePrompts | None = None
) -> list[Reading]:
    """Return the changes that can be compared with a bound.

    Intervals are 95 % for each number, without a correction for repeated evaluations: the numbers of a
    healthy run are far from the bounds (`tests/training/guard/test_bounds.py`).

    Args:
        before: numbers of the start model, by row.
        now: numbers of this evaluation, by row.
        same: rows and prompts that share a prompt, which count as one unit of an interval.
    """
    same = same or SamePrompts()
    changes = [(bound, bound.change(bounds, before, now)) for bound in BOUNDS]
    found = [
        bound.reading(bounds, change, same.rows if bound.of_rows else same.answers)
        for bound, change in changes
        if change is not None
    ]
    return [reading for reading in found if reading.change.n > 1]  # one prompt has no interval


@dataclass(frozen=True, slots=True)
class Bound:
    """One bound of `train.guard`, and how to measure the quantity that it limits; larger is worse."""

    field: str
    what: str
    unit: str
    measure: Callable[[ByRow, ByRow], Values | Pair | None]
    scale: Callable[[float], float] | None = None
    """Converts the mean from the scale on which values are averaged to the scale of the bound."""
    of_rows: bool = False
    """Whether its values belong to held-out rows; otherwise they belong to prompts that are answered."""

    def change(self, bounds: GuardSection, before: ByRow, now: ByRow) -> Values | Pair | None:
        """Return the change of this quantity from `before` to `now`.

        It is one value per row, or both sides of a paired difference. None if the bound is off or the
        quantity was not measured.
        """
        return None if getattr(bounds, self.field) is None else self.measure(before, now)

    def reading(self, bounds: GuardSection, values: Values | Pair, same: DuplicatePrompts) -> Reading:
        """Compute the mean of `values` with its interval over prompts, to compare it with the bound."""
        if isinstance(values, Pair):
            change = paired_difference(one_per_prompt(values.less, same), one_per_prompt(values.more, same))
        else:
            change = mean_interval(list(one_per_prompt(values, same).values()))
        if self.scale:
            change = change.transformed(self.scale)
        return Reading(self.field, self.what, self.unit, change, getattr(bounds, self.field))


@dataclass(frozen=True, slots=True)
class Pair:
    """Shares or rewards of the same prompts; their change is `more` minus `less`."""

    less: Values
    more: Values


def _kl(before: ByRow, now: ByRow) -> Values | None:
    return _known(now.get("kl_per_token", {}))


def _likelihood_fall(before: ByRow, now: ByRow) -> Values | None:
    """Return the decrease of the log-probability of answers to be learned, nats per token, by row.

    The answers are chosen ones or demonstrations.
    """
    if "chosen_logps" in now and "chosen_logps" in before:
        lengths = now["chosen_len"]
        lost = _differences(now["chosen_logps"], before["chosen_logps"])
        return {id: value / lengths[id] for id, value in lost.items()} or None
    return _differences(before.get("nll_per_token", {}), now.get("nll_per_token", {})) or None


def _length(before: ByRow, now: ByRow) -> Values | None:
    """Return log(tokens now / tokens before) by prompt, multiplied by the sign of its sum.

    The mean is therefore positive whether answers become longer or shorter.
    """
    if "chosen_logps" not in now or not _at_start(before, "stopped_share", at_least=WORKING):
        return None
    ratios = _differences(_logs(before.get("answer_len", {})), _logs(now.get("answer_len", {})))
    sign = math.copysign(1.0, math.fsum(ratios.values()))
    return {id: sign * ratio for id, ratio in ratios.items()} or None


def _ending_fall(before: ByRow, now: ByRow) -> Pair | None:
    working = _at_start(before, "stopped_share", at_least=WORKING)
    return _pair(now, before, "stopped_share") if working else None


def _loops_rise(before: ByRow, now: ByRow) -> Pair | None:
    loops = _at_start(before, "repetition_share", at_least=LOOPING)
    return None if loops else _pair(before, now, "repetition_share")


def _distinct_fall(before: ByRow, now: ByRow) -> Pair | None:
    return _pair(now, before, "distinct_share")


def _reward_fall(before: ByRow, now: ByRow) -> Pair | None:
    return _pair(now, before, "reward")


BOUNDS = (
    Bound("kl", "KL to the start model on held-out answers", "nats per token", _kl, of_rows=True),
    Bound(
        "likelihood_fall",
        "fall in the log-probability of held-out answers to be learned",
        "nats per token",
        _likelihood_fall,
        of_rows=True,
    ),
    Bound("length", "answers longer or shorter by a factor", "", _length, math.exp),
    Bound("ending_fall", "fall in the share of answers that end", "share", _ending_fall),
    Bound("loops_rise", "rise in the share of answers that end in a loop", "share", _loops_rise),
    Bound("distinct_fall", "fall in the share of answers unlike all others", "share", _distinct_fall),
    Bound("reward_fall", "fall in the reward of answers", "", _reward_fall),
)
"""All bounds of the guard; the docstrings of `GuardSection` describe them."""


def _pair(less: ByRow, more: ByRow, name: str) -> Pair | None:
    """Return both sides of a paired difference, for the rows with a value on both sides."""
    left, right = _known(less.get(name, {})) or {}, _known(more.get(name, {})) or {}
    common = [id for id in left if id in right]
    return Pair({i: left[i] for i in common}, {i: right[i] for i in common}) if len(common) > 1 else None


def _differences(before: Mapping[str, float], now: Mapping[str, float]) -> Values:
    """Return now minus before for the rows in both; empty for fewer than two rows, which have no interval."""
    found = {id: now[id] - value for id, value in before.items() if id in now}
    return _known(found) or {}


def _known(values: Mapping[str, float]) -> Values | None:
    """Return the values that were measured (not NaN); None if there are fewer than two."""
    found = {id: value for id, value in values.items() if not math.isnan(value)}
    return found if len(found) > 1 else None


def _logs(values: Mapping[str, float]) -> Values:
    """Return the logarithms of lengths; an empty answer counts as one token."""
    return {id: math.log(max(1.0, value)) for id, value in values.items()}


def _at_start(before: ByRow, name: str, at_least: float) -> bool:
    """Return whether a share of the start model's answers is at least `at_least`; False if it is unknown."""
    return mean_of_known(before.get(name, {}).values()) >= at_least
