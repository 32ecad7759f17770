"""Compare held-out numbers before and after training, with intervals.

Held-out rows may share a prompt: two labeled answers, or several pairs. Prompts are the independent unit, so
every interval averages the values of one prompt first (`SamePrompts`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import stdev
from typing import Any

from boresight.stats.intervals import (
    Bounds,
    Interval,
    bounds_of,
    clustered_mean,
    clustered_share,
    grouped,
    paired_difference,
    ratio_estimate,
)

ByRow = dict[str, dict[str, float]]
"""Values as `result[metric][row id]`."""
DuplicatePrompts = Mapping[str, str]
"""The id of each row that has the same prompt as an earlier row, mapped to the id of the first such row."""
SAME_PROMPTS = "same_prompts"
"""Key of `SamePrompts` in `evaluation.json`."""
OF_ROWS = ("accuracy", "margin", "kl_per_token", "nll_per_token")
"""Names of metrics of held-out rows; all other metrics are of prompts that the models answered."""


@dataclass(frozen=True, slots=True)
class SamePrompts:
    """Duplicate prompts, among the held-out rows and among the prompts that are answered."""

    rows: DuplicatePrompts = field(default_factory=dict)
    answers: DuplicatePrompts = field(default_factory=dict)

    def of(self, metric: str) -> DuplicatePrompts:
        """Return the duplicate prompts among the rows or answers that a metric is measured on."""
        return self.rows if metric in OF_ROWS else self.answers

    def as_dict(self) -> dict[str, dict[str, str]]:
        """Return the content of `same_prompts` in `evaluation.json`."""
        return {"rows": dict(self.rows), "answers": dict(self.answers)}

    @classmethod
    def read(cls, evaluation: Mapping[str, Any]) -> SamePrompts | None:
        """Read duplicate prompts from the content of an `evaluation.json`.

        The result is None for files of earlier versions, which do not contain duplicate prompts and whose
        intervals are over rows.
        """
        found = evaluation.get(SAME_PROMPTS)
        if not isinstance(found, Mapping):
            return None
        rows, answers = (found.get(name) for name in ("rows", "answers"))
        return cls(_stored(rows), _stored(answers))


def _stored(stored: object) -> dict[str, str]:
    return {str(id): str(owner) for id, owner in stored.items()} if isinstance(stored, Mapping) else {}


def duplicate_prompts(ids: Sequence[str], prompts: Iterable[str]) -> dict[str, str]:
    """Return the duplicate prompts of rows with these `ids` and `prompts`, as `{later id: first id}`."""
    first: dict[str, str] = {}
    owners = {id: first.setdefault(prompt, id) for id, prompt in zip(ids, prompts, strict=True)}
    return {id: owner for id, owner in owners.items() if id != owner}


def one_per_prompt(values: Mapping[str, float], same: DuplicatePrompts) -> dict[str, float]:
    """Return one value per prompt, by the id of its first row; NaN for a prompt without a value.

    The values have the same mean as all `values` (`ratio_estimate`). They are unchanged if no two rows share
    a prompt.
    """
    groups: dict[str, list[float]] = {}
    for id, value in values.items():
        groups.setdefault(same.get(id, id), []).append(value)
    if len(groups) == len(values):
        return dict(zip(groups, values.values(), strict=True))
    known = [prompt for prompt, group in groups.items() if not all(map(math.isnan, group))]
    means = ratio_estimate([groups[prompt] for prompt in known])[1].tolist() if known else []
    return dict.fromkeys(groups, math.nan) | dict(zip(known, means, strict=True))


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric before and after training; `better` is `higher`, `lower` or `neither`."""

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
        """Return the metric as a dictionary, as in `evaluation.json`, without the values by row."""
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
"""Accuracy of a pair whose margin is 0, as are all margins before training if the policy is the reference."""


def paired_metrics(
    before: ByRow,
    after: ByRow,
    margin_unit: str = "nats",
    names: Mapping[str, str] | None = None,
    same: SamePrompts | None = None,
) -> list[Measured]:
    """Compare each metric in `LABELS` before and after training, paired by prompt.

    Args:
        before: values before training, as `before[metric][row id]`; `after` as well.
        margin_unit: unit of the metric `margin`.
        names: labels that replace those in `LABELS`, for methods that do not learn from pairs.
        same: duplicate prompts; none by default.
    """
    names, same = names or {}, same or SamePrompts()
    units = {name: unit for name, (_, unit, _) in LABELS.items()} | {"margin": margin_unit}
    return [
        paired_metric(
            name, names.get(name, label), units[name], better, before[name], after[name], same.of(name)
        )
        for name, (label, _, better) in LABELS.items()
        if name in after
    ]


def paired_metric(
    name: str,
    label: str,
    unit: str,
    better: str,
    before: dict[str, float],
    after: dict[str, float],
    same: DuplicatePrompts | None = None,
) -> Measured:
    """Compare one metric before and after training, from values by prompt or row id.

    The difference uses only ids with a value in both. Rows that share a prompt by `same` count as one value,
    and n is the number of prompts. Shares and graded rewards have the intervals of outcomes
    (`clustered_share`), other values Student's t; NaN is a missing value. If every share before is a tie, the
    interval of the difference is that of the share after, minus one half.
    """
    bounds = bounds_of(unit, [*before.values(), *after.values()])
    return Measured(
        name=name,
        label=label,
        unit=unit,
        better=better,
        before=_interval(before, bounds, same or {}),
        after=_interval(after, bounds, same or {}),
        difference=_difference(before, after, bounds, unit, same or {}),
        after_by_row=after,
    )


def _interval(values: Mapping[str, float], bounds: Bounds | None, same: DuplicatePrompts) -> Interval | None:
    groups = grouped(list(values.values()), [same.get(id, id) for id in values])
    if sum(not all(value is None or math.isnan(value) for value in group) for group in groups) < 2:
        return None  # one value has no interval
    return clustered_mean(groups) if bounds is None else clustered_share(groups)


def mean_of_known(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN, or NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def standard_error_of_known(values: Iterable[float]) -> float:
    """Return the standard error of the mean of the values that are not NaN; NaN with fewer than two."""
    known = [value for value in values if not math.isnan(value)]
    return stdev(known) / math.sqrt(len(known)) if len(known) > 1 else math.nan


def _difference(
    before: dict[str, float],
    after: dict[str, float],
    bounds: Bounds | None,
    unit: str,
    same: DuplicatePrompts,
) -> Interval | None:
    both = [key for key in after if key in before]
    if unit == "share" and all(before[key] == TIE for key in both):
        # a policy that is its own reference: the start value is exact, and the difference at most 1 - TIE
        found = _interval({key: after[key] for key in both}, bounds, same)
        return found and found.transformed(lambda share: share - TIE)
    # a row that lacks either value is missing on both sides, so that its prompt has as many values on each
    known = [key for key in both if not math.isnan(before[key] + after[key])]
    old, new = (one_per_prompt({key: values[key] for key in known}, same) for values in (before, after))
    if len(old) < 2:
        return None
    found = paired_difference(old, new, bounds=bounds)
    return replace(found, missing=len(both) - len(known))
