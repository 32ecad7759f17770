"""Held-out numbers before and after training, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import stdev
from typing import Any

from boresight.stats.intervals import (
    Bounds,
    Interval,
    bounds_of,
    mean_interval,
    paired_difference,
    share_interval,
)

ByRow = dict[str, dict[str, float]]
"""Metric name to row id to value."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric before and after; `better` is the good direction."""

    name: str
    label: str
    unit: str
    better: str
    before: Interval | None
    after: Interval | None
    difference: Interval | None
    after_by_row: dict[str, float] = field(default_factory=dict)
    """Values after training by prompt or row id."""

    def as_dict(self) -> dict[str, Any]:
        """The metric as a dictionary, as in `evaluation.json`, without the values by row."""
        found = asdict(self)
        del found["after_by_row"]
        return found


LABELS = {
    "accuracy": ("held-out pairs ranked right", "share", "higher"),
    "margin": ("margin of chosen over rejected", "nats", "higher"),
    "reward": ("reward of greedy answers to held-out prompts", "reward", "higher"),
    "kl_per_token": ("KL to the start model per token", "nats", "neither"),
    "nll_per_token": ("negative log-likelihood per token", "nats", "lower"),
}


TIE = 0.5
"""Outcome of a pair whose margin is 0, as all are before training."""


def paired_metrics(
    before: ByRow, after: ByRow, margin_unit: str = "nats", names: Mapping[str, str] | None = None
) -> list[Measured]:
    """Every labeled metric of held-out rows, paired by row; margins are in `margin_unit`.

    Args:
        names: labels of metrics whose meaning differs from that for pairs.
    """
    names = names or {}
    units = {name: unit for name, (_, unit, _) in LABELS.items()} | {"margin": margin_unit}
    return [
        paired_metric(name, names.get(name, label), units[name], better, before[name], after[name])
        for name, (label, _, better) in LABELS.items()
        if name in after
    ]


def paired_metric(
    name: str, label: str, unit: str, better: str, before: dict[str, float], after: dict[str, float]
) -> Measured:
    """One metric from values by prompt or row id; only ids present on both sides are paired.

    Shares and graded rewards are given the intervals of outcomes, other values Student's; NaN is missing.
    Where every share before is a tie, the difference has the interval of the share after, less one half.
    """
    bounds = bounds_of(unit, [*before.values(), *after.values()])
    return Measured(
        name=name,
        label=label,
        unit=unit,
        better=better,
        before=_interval(before, bounds),
        after=_interval(after, bounds),
        difference=_difference(before, after, bounds, unit),
        after_by_row=after,
    )


def _interval(values: dict[str, float], bounds: Bounds | None) -> Interval | None:
    given = list(values.values())
    if sum(not math.isnan(value) for value in given) < 2:
        return None  # one value has no interval
    return mean_interval(given) if bounds is None else share_interval(given)


def mean_of_known(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def standard_error_of_known(values: Iterable[float]) -> float:
    """Standard error of the mean of the values that are not NaN; NaN with fewer than two."""
    known = [value for value in values if not math.isnan(value)]
    return stdev(known) / math.sqrt(len(known)) if len(known) > 1 else math.nan


def _difference(
    before: dict[str, float], after: dict[str, float], bounds: Bounds | None, unit: str
) -> Interval | None:
    both = [key for key in after if key in before]
    if sum(not math.isnan(before[key] + after[key]) for key in both) < 2:
        return None
    if unit == "share" and all(before[key] == TIE for key in both):
        # a policy that is its own reference: the start value is exact, and the difference at most 1 - TIE
        return share_interval([after[key] for key in both]).transformed(lambda share: share - TIE)
    return paired_difference([before[key] for key in both], [after[key] for key in both], bounds=bounds)
