"""Differences between systems that were trained several times, so that luck has two sources.

Training again with another seed gives another model, and asking other prompts gives another score. An
interval over prompts alone says how sure one may be of *these two models*, not of the two recipes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as sps

from boresight.errors import UserError
from boresight.evaluate.stats import Interval, Value


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


def over_seeds(values: Sequence[Mapping[str, Value]], level: float = 0.95) -> OverSeeds:
    """The mean of a value per prompt, measured once for every seed on the same prompts.

    With s²(seeds) the variance of the S seeds' means and s²(prompts) that of the n prompts' means,

        variance of the mean = s²(seeds)/S + s²(prompts)/n

    and Student's t with Satterthwaite's (1946) degrees of freedom. Both variances contain the interaction
    of seed and prompt, so it is counted twice: the interval is a little wide, never narrow (crossed random
    effects, Searle, Casella & McCulloch 1992, §4.3). A prompt that lacks a value for any seed is missing.
    With one seed the interval is over prompts alone.

    Raises:
        UserError: no prompt has a value for every seed.
    """
    table, missing = _table(values)
    seeds, n = table.shape
    by_seed, by_prompt = table.mean(axis=1), table.mean(axis=0)
    parts = [
        (float(means.var(ddof=1)) / means.size, means.size - 1)
        for means in (by_seed, by_prompt)
        if means.size > 1
    ]
    mean, variance = float(table.mean()), sum(part for part, _ in parts)
    if not parts:
        return OverSeeds(Interval(mean, -math.inf, math.inf, n, missing), seeds, math.nan, 0.0, 1.0)
    if variance == 0:
        return OverSeeds(Interval(mean, mean, mean, n, missing), seeds, 0.0, 0.0, float(mean == 0))
    freedom = variance**2 / sum(part**2 / (size) for part, size in parts)
    error = math.sqrt(variance)
    reach = float(sps.t.ppf((1 + level) / 2, freedom)) * error
    spread = float(by_seed.std(ddof=1)) if seeds > 1 else math.nan
    return OverSeeds(
        mean=Interval(mean, mean - reach, mean + reach, n, missing),
        seeds=seeds,
        seed_sd=spread,
        seed_share=parts[0][0] / variance if seeds > 1 else 0.0,
        p=float(2 * sps.t.sf(abs(mean) / error, freedom)),
    )


def difference_over_seeds(
    a: Sequence[Mapping[str, Value]], b: Sequence[Mapping[str, Value]], level: float = 0.95
) -> OverSeeds:
    """b minus a, paired by seed (in the order given) and by prompt; see `over_seeds`.

    Raises:
        UserError: unequal numbers of seeds, or no prompt has all values.
    """
    if len(a) != len(b) or not a:
        raise UserError(f"A difference over seeds needs the same seeds of both, not {len(a)} and {len(b)}.")
    differences = []
    for x, y in zip(a, b, strict=True):
        prompts = dict.fromkeys([*x, *y])
        differences.append({key: _minus(y.get(key), x.get(key)) for key in prompts})
    return over_seeds(differences, level)


def _table(values: Sequence[Mapping[str, Value]]) -> tuple[np.ndarray, int]:
    """Values `(seeds, prompts)` of the prompts that have all of them, and how many have not."""
    prompts = list(dict.fromkeys(key for seed in values for key in seed))
    table = np.array([[_number(seed.get(key)) for key in prompts] for seed in values])
    whole = ~np.isnan(table).any(axis=0) if prompts else np.zeros(0, bool)
    if not whole.any():
        raise UserError(f"There is nothing to compare: none of the {len(prompts)} prompts has all values.")
    return table[:, whole], int((~whole).sum())


def _minus(y: Value, x: Value) -> float:
    return _number(y) - _number(x)


def _number(value: Value) -> float:
    return math.nan if value is None else float(value)
