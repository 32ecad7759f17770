"""Differences between arms with few seeds each; the variance of seeds is pooled over the arms of a class.

Three seeds say little about how seeds differ. If the arms of a class (the same start model and prompts,
recipes alike) differ by seed about equally, ten arms of three seeds measure it with 20 degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from boresight.core.errors import UserError
from boresight.stats.intervals import Array, Bounds, Interval, Value
from boresight.stats.over_seeds import VariancePart, difference_by_prompt, half_width_of, two_sided_p

Indices = np.ndarray[Any, np.dtype[np.intp]]
"""Index of the topic of each prompt."""
Topics = Mapping[str, Hashable]
"""Topic of each prompt. Prompts of one topic are not independent of each other."""


@dataclass(frozen=True)
class SeedValues:
    """An arm's value by prompt, once per seed. A model that was not `trained` has one entry and no
    variance of seeds."""

    by_seed: Sequence[Mapping[str, Value]]
    trained: bool = True

    def __post_init__(self) -> None:
        if not self.by_seed or (len(self.by_seed) > 1 and not self.trained):
            raise ValueError(
                f"{len(self.by_seed)} seeds: a trained arm has one or more, an untrained model one"
            )

    @property
    def weight(self) -> float:
        """Factor between the variance of one seed's mean and that of the arm's mean."""
        return 1 / len(self.by_seed) if self.trained else 0.0


@dataclass(frozen=True)
class PooledDifference:
    """b minus a over seeds and prompts. `n` of the interval counts prompts.

    `center` is the estimate of tests and limits: with bounds it is shrunk towards zero. `parts` are the parts
    of its variance, None where it cannot be known. `seeds` are those of a and of b.
    """

    mean: Interval
    center: float
    parts: tuple[VariancePart, ...] | None
    seeds: tuple[int, int]
    topics: int
    seed_sd: float
    """Standard deviation of a seed's mean, pooled over the class; NaN if no arm of it has two seeds."""

    @property
    def variance(self) -> float:
        """Variance of the mean; infinite where it cannot be known."""
        return math.inf if self.parts is None else math.fsum(part.variance for part in self.parts)

    @property
    def p(self) -> float:
        """Two-sided test against a difference of zero."""
        return 1.0 if self.parts is None else two_sided_p(self.parts, abs(self.center))

    def p_above(self, value: float) -> float:
        """One-sided test; small: the difference is larger than `value`."""
        if self.parts is None:
            return 1.0
        half = two_sided_p(self.parts, abs(self.center - value)) / 2
        return half if self.center > value else 1 - half

    def p_below(self, value: float) -> float:
        """One-sided test; small: the difference is smaller than `value`."""
        return 1.0 if self.parts is None else 1 - self.p_above(value)

    def p_within(self, margin: float) -> float:
        """Two one-sided tests (Schuirmann 1987); small: the difference lies between -margin and margin."""
        return max(self.p_above(-margin), self.p_below(margin))


def pooled_difference(
    a: SeedValues,
    b: SeedValues,
    pool: Sequence[SeedValues],
    topics: Topics | None = None,
    level: float = 0.95,
    bounds: Bounds | None = None,
) -> PooledDifference:
    """b minus a, each the mean over its own seeds, on the prompts that all seeds of both answered.

    With s² the variance of a seed's mean about the mean of its arm, pooled over the arms of `pool` with
    ν = Σ (S - 1) degrees of freedom, e the G topics' parts of the paired difference, and r² the variance that
    seeds add to a topic's part, pooled in the same way,

        u = s² (1/S_a + 1/S_b)      v = max(0, Σ e² / (G (G - 1)) - r² (1/S_a + 1/S_b) / G)

    and the interval is mean ± √(t(ν)² u + t(G-1)² v), as `over_seeds` has it. The seeds of both arms are
    taken for independent: where they share random numbers, the interval is too wide and not too narrow. The
    variance is unknown and the interval infinite if no arm of the class has two seeds, or if many prompts
    have one topic. One prompt alone, such as one number per run, adds nothing to the variance of seeds.

    Args:
        pool: the arms of the class, usually with a and b among them; those of one seed add nothing.
        topics: None takes each prompt for a topic of its own.
        bounds: smallest and largest possible value. Limits and p are then those of the data with two topics
            of one prompt added whose differences are the least and the greatest possible, so that identical
            values of all prompts do not give an interval of width 0 (Bonett & Price 2012).

    Raises:
        UserError: no prompt has a value for every seed of both arms, or one has no topic.
    """
    prompts, missing = _prompts_of([*a.by_seed, *b.by_seed])
    gap = _table(b, prompts).mean(axis=0) - _table(a, prompts).mean(axis=0)
    group, ends = _groups(prompts, topics), None
    if bounds is not None:
        ends = bounds[0] - bounds[1], bounds[1] - bounds[0]
    seeds = _seed_variance(pool, prompts, group)
    found = _pooled(gap, group, a.weight + b.weight, seeds, level, ends)
    interval = replace(found.mean, missing=missing)
    return replace(found, mean=interval, seeds=(len(a.by_seed), len(b.by_seed)))


def pooled_mean(
    arm: SeedValues,
    pool: Sequence[SeedValues],
    topics: Topics | None = None,
    level: float = 0.95,
    bounds: Bounds | None = None,
) -> Interval:
    """The mean of an arm over its seeds and prompts, with the interval of `pooled_difference`.

    Raises:
        UserError: no prompt has a value for every seed, or one has no topic.
    """
    prompts, missing = _prompts_of(arm.by_seed)
    group, values = _groups(prompts, topics), _table(arm, prompts).mean(axis=0)
    seeds = _seed_variance(pool, prompts, group)
    return replace(_pooled(values, group, arm.weight, seeds, level, bounds).mean, missing=missing)


def paired_by_seed(
    a: SeedValues,
    b: SeedValues,
    topics: Topics | None = None,
    level: float = 0.95,
    bounds: Bounds | None = None,
) -> PooledDifference:
    """b minus a, seed by seed in the order given, for runs of one seed that share random numbers.

    As `pooled_difference`, with the variance of the S pairs' differences, which has S - 1 degrees of freedom.

    Raises:
        UserError: unequal numbers of seeds, or as `pooled_difference` does.
    """
    if len(a.by_seed) != len(b.by_seed):
        raise UserError(f"Pairs need the same seeds of both, not {len(a.by_seed)} and {len(b.by_seed)}.")
    pairs = SeedValues([difference_by_prompt(x, y) for x, y in zip(a.by_seed, b.by_seed, strict=True)])
    nothing = SeedValues([dict.fromkeys(pairs.by_seed[0], 0.0)], trained=False)
    found = pooled_difference(nothing, pairs, [pairs], topics, level, bounds)
    return replace(found, seeds=(len(a.by_seed), len(b.by_seed)))


def _pooled(
    values: Array, group: Indices, weight: float, seeds: _SeedVariance, level: float, ends: Bounds | None
) -> PooledDifference:
    """The mean of `values` by prompt; `ends` are the least and the greatest possible, None without bounds."""
    mean, n, found = float(values.mean()), len(values), len({*group.tolist()})
    least, greatest = ends or (-math.inf, math.inf)
    if ends is not None:
        values, group = np.append(values, ends), np.append(group, [found, found + 1])
    parts, center = _difference_parts(values, group, weight, seeds), float(values.mean())
    reach = math.inf if parts is None else half_width_of(parts, 1 - level)
    return PooledDifference(
        mean=Interval(mean, max(least, center - reach), min(greatest, center + reach), n),
        center=center,
        parts=parts,
        seeds=(0, 0),
        topics=found,
        seed_sd=math.sqrt(seeds.of_mean) if seeds.freedom else math.nan,
    )


@dataclass(frozen=True)
class _SeedVariance:
    """Variance that seeds add to an arm's mean and to a topic's part of it, and its degrees of freedom."""

    of_mean: float
    of_part: float
    freedom: int


def _seed_variance(pool: Sequence[SeedValues], prompts: Sequence[str], group: Indices) -> _SeedVariance:
    """Pooled over the arms that have two seeds or more and these prompts."""
    of_mean = of_part = 0.0
    freedom = part_freedom = 0
    for arm in pool:
        table = _table(arm, prompts)
        known = ~np.isnan(table).any(axis=0)
        if len(table) < 2 or not known.any():
            continue
        table, own = table[:, known], group[known]
        of_mean += float(((table.mean(axis=1) - table.mean()) ** 2).sum())
        freedom += len(table) - 1
        parts = np.array([_topic_parts(row, own) for row in table])
        of_part += float(((parts - parts.mean(axis=0)) ** 2).sum())
        part_freedom += (len(table) - 1) * (parts.shape[1] - 1)
    return _SeedVariance(of_mean / max(1, freedom), of_part / max(1, part_freedom), freedom)


def _topic_parts(values: Array, group: Indices) -> Array:
    """`(G,)`: sums over topics of deviations from the mean, times G/n; for n topics, the deviations."""
    _, ids = np.unique(group, return_inverse=True)
    sums = np.zeros(int(ids.max()) + 1)
    np.add.at(sums, ids, values - values.mean())
    sums *= len(sums) / len(values)
    return sums


def _difference_parts(
    gap: Array, group: Indices, weight: float, seeds: _SeedVariance
) -> tuple[VariancePart, ...] | None:
    """Parts of the variance of the mean of `gap`; None if one is unknown."""
    parts = []
    if weight > 0:
        if not seeds.freedom:
            return None
        parts.append(VariancePart(weight * seeds.of_mean, seeds.freedom))
    of_topics = _topic_parts(gap, group)
    count = len(of_topics)
    if count > 1:
        total = float((of_topics**2).sum()) / (count * (count - 1))
        parts.append(VariancePart(max(0.0, total - weight * seeds.of_part / count), count - 1))
    elif len(gap) > 1:
        return None
    return tuple(parts) or None


def _prompts_of(values: Sequence[Mapping[str, Value]]) -> tuple[list[str], int]:
    """Prompts that all have a value for, and how many others there are. Raises `UserError` for none."""
    known = dict.fromkeys(prompt for by_prompt in values for prompt in by_prompt)
    shared = [p for p in known if not any(math.isnan(_value(by_prompt, p)) for by_prompt in values)]
    if not shared:
        raise UserError(f"There is nothing to compare: none of the {len(known)} prompts has all values.")
    return shared, len(known) - len(shared)


def _table(arm: SeedValues, prompts: Sequence[str]) -> Array:
    """Values `(seeds, prompts)`, NaN where one is missing."""
    return np.array([[_value(by_prompt, prompt) for prompt in prompts] for by_prompt in arm.by_seed])


def _value(by_prompt: Mapping[str, Value], prompt: str) -> float:
    value = by_prompt.get(prompt)
    return math.nan if value is None else float(value)


def _groups(prompts: Sequence[str], topics: Topics | None) -> Indices:
    """Number of the topic of each prompt. Raises `UserError` for a prompt without one."""
    if topics is None:
        return np.arange(len(prompts))
    if lacking := next((prompt for prompt in prompts if prompt not in topics), None):
        raise UserError(f"prompt {lacking!r} has no topic; give each prompt one, or none to all of them.")
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(topics[prompt], len(number)) for prompt in prompts])
