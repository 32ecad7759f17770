"""Differences between systems that were trained several times, so that luck has two sources.

Training again with another seed gives another model, and asking other prompts gives another score. An
interval over prompts alone says how sure one may be of *these two models*, not of the two recipes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import stats as sps

from boresight.core.errors import UserError
from boresight.stats.intervals import Interval, Value


@final  # without subclasses, `mean and mean.mean` is an interval or None to a type checker
@dataclass(frozen=True)
class OverSeeds:
    """A mean over seeds and prompts. `n` of the interval counts prompts.

    `seed_sd` is the standard deviation of the seeds' means, `seed_share` the part of the variance of the
    mean that is owed to seeds, `p` the two-sided test against zero.
    """

    mean: Interval
    seeds: int
    seed_sd: float
    seed_share: float
    p: float


Bounds = tuple[float, float]
SHARE: Bounds = (0.0, 1.0)
"""Bounds of outcomes such as right or wrong."""
DIFFERENCE: Bounds = (-1.0, 1.0)
"""Bounds of the difference of two such outcomes."""


def over_seeds(
    values: Sequence[Mapping[str, Value]], level: float = 0.95, bounds: Bounds | None = None
) -> OverSeeds:
    """The mean of a value per prompt, measured once for every seed on the same prompts.

    With s²(seeds) the variance of the S seeds' means and s²(prompts) that of the n prompts' means,

        variance of the mean = s²(seeds)/S + s²(prompts)/n

    and Student's t with Satterthwaite's (1946) degrees of freedom. Both variances contain the interaction
    of seed and prompt, so it is counted twice: the interval is a little wide, never narrow (crossed random
    effects, Searle, Casella & McCulloch 1992, §4.3). A prompt that lacks a value for any seed is missing.
    With one seed the interval is over prompts alone.

    With `bounds`, limits and p are those of the data with one prompt at either bound added (Bonett & Price
    2012 for differences, Agresti & Caffo 2000 for shares), so that prompts which all agree do not read as
    certainty.

    Raises:
        UserError: no prompt has a value for every seed.
    """
    table, missing = _table(values)
    seeds, n = table.shape
    mean = float(table.mean())
    spread = float(table.mean(axis=1).std(ddof=1)) if seeds > 1 else math.nan
    if bounds is not None:
        table = np.hstack([table, np.tile(bounds, (seeds, 1))])
    low, high = bounds or (-math.inf, math.inf)
    centre = float(table.mean())
    parts = [
        (float(means.var(ddof=1)) / means.size, means.size - 1)
        for means in (table.mean(axis=1), table.mean(axis=0))
        if means.size > 1
    ]
    variance = sum(part for part, _ in parts)
    if not parts:
        return OverSeeds(Interval(mean, -math.inf, math.inf, n, missing), seeds, math.nan, 0.0, 1.0)
    if variance == 0:
        return OverSeeds(Interval(mean, mean, mean, n, missing), seeds, 0.0, 0.0, float(mean == 0))
    freedom = variance**2 / sum(part**2 / free for part, free in parts)
    error = math.sqrt(variance)
    reach = float(sps.t.ppf((1 + level) / 2, freedom)) * error
    return OverSeeds(
        mean=Interval(mean, max(low, centre - reach), min(high, centre + reach), n, missing),
        seeds=seeds,
        seed_sd=spread,
        seed_share=parts[0][0] / variance if seeds > 1 else 0.0,
        p=float(2 * sps.t.sf(abs(centre) / error, freedom)),
    )


def difference_over_seeds(
    a: Sequence[Mapping[str, Value]],
    b: Sequence[Mapping[str, Value]],
    level: float = 0.95,
    bounds: Bounds | None = None,
) -> OverSeeds:
    """b minus a, paired by seed (in the order given) and by prompt; see `over_seeds`.

    Raises:
        UserError: unequal numbers of seeds, or no prompt has all values.
    """
    if len(a) != len(b) or not a:
        raise UserError(f"A difference over seeds needs the same seeds of both, not {len(a)} and {len(b)}.")
    return over_seeds([difference_by_prompt(x, y) for x, y in zip(a, b, strict=True)], level, bounds)


def difference_by_prompt(a: Mapping[str, Value], b: Mapping[str, Value]) -> dict[str, float]:
    """b minus a of every prompt that either has; NaN where one lacks it."""
    return {key: _number(b.get(key)) - _number(a.get(key)) for key in dict.fromkeys([*a, *b])}


def _table(values: Sequence[Mapping[str, Value]]) -> tuple[np.ndarray, int]:
    """Values `(seeds, prompts)` of the prompts that have all of them, and how many have not."""
    prompts = list(dict.fromkeys(key for seed in values for key in seed))
    table = np.array([[_number(seed.get(key)) for key in prompts] for seed in values])
    whole = ~np.isnan(table).any(axis=0) if prompts else np.zeros(0, bool)
    if not whole.any():
        raise UserError(f"There is nothing to compare: none of the {len(prompts)} prompts has all values.")
    return table[:, whole], int((~whole).sum())


def _number(value: Value) -> float:
    return math.nan if value is None else float(value)
