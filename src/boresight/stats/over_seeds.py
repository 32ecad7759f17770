"""Compare systems that were trained with several seeds: intervals over seeds and prompts.

Another seed gives another model, and other prompts give another score. An interval over prompts alone is
valid for the two trained models, not for their recipes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from boresight.core.errors import UserError
from boresight.stats.intervals import Bounds, Interval, Value

SMALLEST_P = 1e-12
"""Minimum p-value that functions of this module return."""


@final  # without subclasses, `mean and mean.mean` is an interval or None to a type checker
@dataclass(frozen=True)
class OverSeeds:
    """A mean over seeds and prompts. `n` of the interval is the number of prompts.

    `seed_sd` is the standard deviation of the means of the seeds, `seed_share` the share of the variance of
    the mean that is due to seeds, and `p` the p-value of the two-sided test against zero.
    """

    mean: Interval
    seeds: int
    seed_sd: float
    seed_share: float
    p: float


def over_seeds(
    values: Sequence[Mapping[str, Value]], level: float = 0.95, bounds: Bounds | None = None
) -> OverSeeds:
    """Compute the mean over seeds and prompts of values that every seed has for the same prompts.

    With s²(seeds) the variance of the means of the S seeds, s²(prompts) that of the means of the n prompts
    and s²(rest) the residual variance, the variance of the mean has two parts,

        u = s²(seeds)/S     v = max(0, s²(prompts)/n - s²(rest)/(S n))

    and the interval is mean ± √(t(S-1)² u + t(n-1)² v), that of Banerjee (1961) for parts that are estimated
    with different degrees of freedom. Two seeds give a poor estimate of s²(seeds), so intervals over two
    seeds are wide. s²(seeds) already contains the residual variance, hence the subtraction (Searle, Casella &
    McCulloch 1992, §4.3). A prompt that lacks a value for any seed is missing. With one seed the interval is
    over prompts alone.

    With `bounds`, limits and p are computed after adding one prompt at each of the two bounds (Bonett & Price
    2012 for differences, Agresti & Caffo 2000 for shares), so that the interval of identical values does not
    have width 0.

    Raises:
        UserError: no prompt has a value for every seed.
    """
    table, missing = table_by_seed(values)
    seeds, n = table.shape
    mean = float(table.mean())
    spread = float(table.mean(axis=1).std(ddof=1)) if seeds > 1 else math.nan
    if bounds is not None:
        table = np.hstack([table, np.tile(bounds, (seeds, 1))])
    low, high = bounds or (-math.inf, math.inf)
    center = float(table.mean())
    parts = _parts(table)
    if not parts:
        return OverSeeds(Interval(mean, -math.inf, math.inf, n, missing), seeds, math.nan, 0.0, 1.0)
    variance = sum(part.variance for part in parts)
    if variance == 0:
        return OverSeeds(Interval(mean, mean, mean, n, missing), seeds, 0.0, 0.0, float(mean == 0))
    reach = half_width_of(parts, 1 - level)
    return OverSeeds(
        mean=Interval(mean, max(low, center - reach), min(high, center + reach), n, missing),
        seeds=seeds,
        seed_sd=spread,
        seed_share=parts[0].variance / variance if seeds > 1 else 0.0,
        p=two_sided_p(parts, abs(center)),
    )


def difference_over_seeds(
    a: Sequence[Mapping[str, Value]],
    b: Sequence[Mapping[str, Value]],
    level: float = 0.95,
    bounds: Bounds | None = None,
) -> OverSeeds:
    """Compute the mean of b minus a, paired by seed (in the order given) and by prompt; see `over_seeds`.

    Raises:
        UserError: unequal numbers of seeds, or no prompt has all values.
    """
    if len(a) != len(b) or not a:
        raise UserError(f"A difference over seeds needs the same seeds of both, not {len(a)} and {len(b)}.")
    return over_seeds([difference_by_prompt(x, y) for x, y in zip(a, b, strict=True)], level, bounds)


def difference_by_prompt(a: Mapping[str, Value], b: Mapping[str, Value]) -> dict[str, float]:
    """Return b minus a for every prompt in a or b; NaN if one of the two values is missing."""
    return {key: _number(b.get(key)) - _number(a.get(key)) for key in dict.fromkeys([*a, *b])}


@dataclass(frozen=True)
class VariancePart:
    """A part of the variance of a mean, and the degrees of freedom that it was estimated with."""

    variance: float
    freedom: int


def _parts(table: np.ndarray) -> list[VariancePart]:
    """Return the parts of seeds and prompts in the variance of the mean of `table`, `(seeds, prompts)`."""
    seeds, n = table.shape
    by_seed, by_prompt = table.mean(axis=1), table.mean(axis=0)
    parts = []
    rest = 0.0
    if seeds > 1:
        parts.append(VariancePart(float(by_seed.var(ddof=1)) / seeds, seeds - 1))
    if seeds > 1 and n > 1:
        residual = table - by_seed[:, None] - by_prompt + table.mean()
        rest = float((residual**2).sum()) / ((seeds - 1) * (n - 1) * seeds * n)
    if n > 1:
        parts.append(VariancePart(max(0.0, float(by_prompt.var(ddof=1)) / n - rest), n - 1))
    return parts


def half_width_of(parts: Sequence[VariancePart], alpha: float) -> float:
    """Return the half-width of the interval of level 1 - `alpha` for a mean with these parts of variance."""
    return math.sqrt(sum(float(stdtrit(p.freedom, alpha / 2)) ** 2 * p.variance for p in parts))


def two_sided_p(parts: Sequence[VariancePart], distance: float) -> float:
    """Return the two-sided p-value of a mean at `distance` from the null value.

    It is the `alpha` at which `half_width_of` equals `distance`, so that it is below 0.05 exactly if the 95 %
    interval excludes the null value. It is at least `SMALLEST_P`. Without any variance it is 1 at distance 0
    and `SMALLEST_P` at any other.
    """
    if distance == 0:
        return 1.0
    if half_width_of(parts, SMALLEST_P) <= distance:
        return SMALLEST_P
    return float(brentq(lambda alpha: half_width_of(parts, alpha) - distance, SMALLEST_P, 1.0, xtol=1e-15))


def table_by_seed(values: Sequence[Mapping[str, Value]]) -> tuple[np.ndarray, int]:
    """Return an array `(seeds, prompts)` of the prompts with all values, and the number of other prompts.

    Raises:
        UserError: no prompt has a value for every seed.
    """
    prompts = list(dict.fromkeys(key for seed in values for key in seed))
    table = np.array([[_number(seed.get(key)) for key in prompts] for seed in values])
    whole = ~np.isnan(table).any(axis=0) if prompts else np.zeros(0, bool)
    if not whole.any():
        raise UserError(f"There is nothing to compare: none of the {len(prompts)} prompts has all values.")
    return table[:, whole], int((~whole).sum())


def _number(value: Value) -> float:
    return math.nan if value is None else float(value)
