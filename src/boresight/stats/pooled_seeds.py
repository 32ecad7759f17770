"""Compare arms with few seeds each; the variance between seeds is pooled over the arms of a class.

The seeds of one arm alone, such as three, give a poor estimate of the variance between seeds. The arms of a
class have the same start model and prompts and similar recipes. If they vary by seed about equally, ten arms
of three seeds give an estimate with 20 degrees of freedom.
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
"""Index of the topic of each prompt, `(prompts,)`."""
Topics = Mapping[str, Hashable]
"""Topic of each prompt. Prompts of one topic are not independent of each other."""


@dataclass(frozen=True)
class SeedValues:
    """Values of an arm as `by_seed[seed][prompt]`.

    A model that is not `trained`, such as a start model, has one entry and no variance between seeds.
    """

    by_seed: Sequence[Mapping[str, Value]]
    trained: bool = True

    def __post_init__(self) -> None:
        if not self.by_seed or (len(self.by_seed) > 1 and not self.trained):
            raise ValueError(
                f"{len(self.by_seed)} seeds: a trained arm has one or more, an untrained model one"
            )

    @property
    def weight(self) -> float:
        """Factor of the variance between seeds in that of the arm's mean: 1 / seeds, 0 without training."""
        return 1 / len(self.by_seed) if self.trained else 0.0


@dataclass(frozen=True)
class PooledDifference:
    """The difference b minus a over seeds and prompts. `n` of the interval is the number of prompts.

    `center` is the estimate that tests and limits use; with bounds it is shrunk towards zero. `parts` are the
    parts of its variance, None if the variance is unknown. `seeds` are the numbers of seeds of a and of b.
    """

    mean: Interval
    center: float
    parts: tuple[VariancePart, ...] | None
    seeds: tuple[int, int]
    topics: int
    seed_sd: float
    """Standard deviation between the means of seeds, pooled over the class; NaN if no arm has two seeds."""

    @property
    def variance(self) -> float:
        """Variance of the mean difference; infinite if it is unknown."""
        return math.inf if self.parts is None else math.fsum(part.variance for part in self.parts)

    @property
    def p(self) -> float:
        """p-value of the two-sided test against a difference of zero."""
        return 1.0 if self.parts is None else two_sided_p(self.parts, abs(self.center))

    def p_above(self, value: float) -> float:
        """Return the one-sided p-value that is small if the difference is larger than `value`."""
        if self.parts is None:
            return 1.0
        half = two_sided_p(self.parts, abs(self.center - value)) / 2
        return half if self.center > value else 1 - half

    def p_below(self, value: float) -> float:
        """Return the one-sided p-value that is small if the difference is smaller than `value`."""
        return 1.0 if self.parts is None else 1 - self.p_above(value)

    def p_within(self, margin: float) -> float:
        """Return the p-value that is small if the difference lies between -margin and margin.

        It is the larger one of two one-sided tests (Schuirmann 1987).
        """
        return max(self.p_above(-margin), self.p_below(margin))


def pooled_difference(
    a: SeedValues,
    b: SeedValues,
    pool: Sequence[SeedValues],
    topics: Topics | None = None,
    level: float = 0.95,
    bounds: Bounds | None = None,
) -> PooledDifference:
    """Compute the difference b minus a of two arms, on the prompts that all seeds of both answered.

    The value of an arm is the mean over its own seeds. With s² the variance of a seed's mean about the mean
    of its arm, pooled over the arms of `pool` with ν = Σ (S - 1) degrees of freedom, e the contributions of
    the G topics to the paired difference, and r² the variance that seeds add to such a contribution, pooled
    in the same way,

        u = s² (1/S_a + 1/S_b)      v = max(0, Σ e² / (G (G - 1)) - r² (1/S_a + 1/S_b) / G)

    and the interval is mean ± √(t(ν)² u + t(G-1)² v), as in `over_seeds`. The seeds of both arms are treated
    as independent: if they share random numbers, the interval is too wide rather than too narrow. The
    variance is unknown and the interval infinite if no arm of the class has two seeds, or if all of several
    prompts have the same topic. A single prompt, such as one number per run, adds nothing to the variance of
    seeds.

    Args:
        pool: the arms of the class, usually with a and b among them; arms with one seed add nothing.
        topics: topic of each prompt. With None, each prompt is its own topic.
        bounds: smallest and largest possible value. Limits and p are then computed after adding two topics
            of one prompt each, one with the smallest and one with the largest possible difference, so that
            identical values of all prompts do not give an interval of width 0 (Bonett & Price 2012).

    Raises:
        UserError: no prompt has a value for every seed of both arms, or a prompt has no topic.
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
    """Compute the mean of an arm over its seeds and prompts, with the interval of `pooled_difference`.

    Raises:
        UserError: no prompt has a value for every seed, or a prompt has no topic.
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
    """Compute the difference b minus a, paired by seed in the order given.

    For arms whose runs with the same seed share random numbers. The interval is that of `pooled_difference`
    with the variance between the differences of the S pairs, which has S - 1 degrees of freedom.

    Raises:
        UserError: unequal numbers of seeds, or an error of `pooled_difference`.
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
    """Compute the mean of `values`, one per prompt, with its interval.

    Args:
        values: values or differences by prompt, `(prompts,)`.
        weight: factor of the variance between seeds in that of the mean.
        ends: smallest and largest possible value; None without bounds.
    """
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
    """Pooled variance between seeds.

    `of_mean` is the variance of a seed's mean, with `freedom` degrees of freedom, and `of_part` that of a
    topic's contribution to it.
    """

    of_mean: float
    of_part: float
    freedom: int


def _seed_variance(pool: Sequence[SeedValues], prompts: Sequence[str], group: Indices) -> _SeedVariance:
    """Compute the variance between seeds, pooled over the arms with at least two seeds and these prompts."""
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
    """Return the contributions of the G topics to the mean, `(G,)`.

    They are sums over the prompts of a topic of deviations from the mean, times G/n. If each of the n prompts
    is its own topic, they are the deviations.
    """
    _, ids = np.unique(group, return_inverse=True)
    sums = np.zeros(int(ids.max()) + 1)
    np.add.at(sums, ids, values - values.mean())
    sums *= len(sums) / len(values)
    return sums


def _difference_parts(
    gap: Array, group: Indices, weight: float, seeds: _SeedVariance
) -> tuple[VariancePart, ...] | None:
    """Return the parts of seeds and topics in the variance of the mean of `gap`; None if one is unknown."""
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
    """Return the prompts that have a value for every seed, and the number of the other prompts.

    Raises:
        UserError: no prompt has a value for every seed.
    """
    known = dict.fromkeys(prompt for by_prompt in values for prompt in by_prompt)
    shared = [p for p in known if not any(math.isnan(_value(by_prompt, p)) for by_prompt in values)]
    if not shared:
        raise UserError(f"There is nothing to compare: none of the {len(known)} prompts has all values.")
    return shared, len(known) - len(shared)


def _table(arm: SeedValues, prompts: Sequence[str]) -> Array:
    """Return the values of an arm as an array `(seeds, prompts)`, NaN where one is missing."""
    return np.array([[_value(by_prompt, prompt) for prompt in prompts] for by_prompt in arm.by_seed])


def _value(by_prompt: Mapping[str, Value], prompt: str) -> float:
    value = by_prompt.get(prompt)
    return math.nan if value is None else float(value)


def _groups(prompts: Sequence[str], topics: Topics | None) -> Indices:
    """Return the index of the topic of each prompt. Raises `UserError` for a prompt without a topic."""
    if topics is None:
        return np.arange(len(prompts))
    if lacking := next((prompt for prompt in prompts if prompt not in topics), None):
        raise UserError(f"prompt {lacking!r} has no topic; give each prompt one, or none to all of them.")
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(topics[prompt], len(number)) for prompt in prompts])
