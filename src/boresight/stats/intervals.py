"""Compute intervals, paired tests and sample sizes for comparing systems.

All functions are pure functions of numbers. Three rules hold for all of them:

- A missing value (None or NaN: a failed judgment, an answer that could not be scored) is excluded and counted
in `Interval.missing`. It is never a zero, a loss or a tie.
- Two systems are compared on the same prompts, by their difference per prompt.
- Prompts are the independent unit. Several values of one prompt are one cluster.

Intervals of outcomes with known bounds (solved or not; won, tied or lost) never shrink to a point: 0 of 200
solved does not mean that nothing is ever solved. `tests/stats/test_coverage.py` simulates how often every
interval contains the true value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats as sps
from scipy.special import stdtrit

from boresight.core.errors import UserError

SIGNIFICANCE_LEVEL = 0.05
"""p-value, adjusted for all comparisons that are made together, below which a difference is significant."""

Value = float | int | bool | None
"""One measurement; None or NaN if it is missing."""

Array = NDArray[np.float64]

Bounds = tuple[float, float]
"""Smallest and largest possible value."""
SHARE: Bounds = (0.0, 1.0)
"""Bounds of outcomes such as right or wrong."""
DIFFERENCE: Bounds = (-1.0, 1.0)
"""Bounds of the difference of two such outcomes."""
MOST_GRADES = 5
"""Maximum number of distinct values of rewards in [0, 1] that count as grades, such as 0, 0.1 and 1."""

Z95 = 1.959964
"""97.5 % quantile of the normal distribution: half-width of a 95 % interval in standard errors."""


@dataclass(frozen=True)
class Interval:
    """An estimate, its confidence limits, and the number of prompts."""

    value: float
    low: float
    high: float
    n: int
    missing: int = 0

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference with this interval is significant: it excludes zero."""
        return self.low > 0 or self.high < 0

    def scaled(self, factor: float) -> Interval:
        """Return the interval multiplied by `factor`, e.g. `scaled(100)` for points."""
        low, high = sorted((self.low * factor, self.high * factor))
        return Interval(self.value * factor, low, high, self.n, self.missing)

    def transformed(self, increasing: Callable[[float], float]) -> Interval:
        """Return the interval of an increasing function of the estimate."""
        limits = increasing(self.low), increasing(self.high)
        return Interval(increasing(self.value), *limits, self.n, self.missing)

    def as_dict(self) -> dict[str, float | int]:
        """Return the interval as a dictionary, as in `evaluation.json`."""
        return asdict(self)


# One sample ---------------------------------------------------------------------------------------------


def clopper_pearson(k: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact binomial limits for the share k / n, whose coverage is at least `level`.

    Limits are quantiles of Beta(k, n-k+1) and Beta(k+1, n-k) (Clopper & Pearson 1934); (0, 1) if n is 0. k
    may be half-integer if only totals are known and ties count one half. The variance of ties is smaller than
    that of wins and losses, so the interval is then conservative. `share_interval`, which needs the outcomes,
    is narrower.
    """
    _require_count(k, n)
    if n == 0:
        return SHARE
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(sps.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(sps.beta.ppf(1 - tail, k + 1, n - k))
    return low, high


def share_interval(outcomes: Sequence[Value], level: float = 0.95) -> Interval:
    """Compute the mean of outcomes in [0, 1] (1 won, 0.5 tied, 0 lost), with its interval.

    The interval is that of Clopper and Pearson if all outcomes are 0 or 1, and that of `mean_interval` with
    the bounds 0 and 1 otherwise.
    """
    present, missing = _present(outcomes)
    if present.min() < 0 or present.max() > 1:
        raise ValueError("outcomes of a share lie between 0 and 1")
    return Interval(float(present.mean()), *_share_limits(present, level), present.size, missing)


def mean_interval(values: Sequence[Value], level: float = 0.95, bounds: Bounds | None = None) -> Interval:
    """Compute the mean with Student's t interval: mean ± t(n-1) s/√n. The limits of a single value are ±∞.

    With `bounds`, the limits are computed after adding one value at each of the two bounds (Agresti & Caffo
    2000), so that the interval of identical values does not have width 0.
    """
    present, missing = _present(values)
    low, high = _t_limits(present, level) if bounds is None else _bounded_limits(present, level, bounds)
    return Interval(float(present.mean()), low, high, present.size, missing)


def clustered_share(outcomes_by_prompt: Sequence[Sequence[Value]], level: float = 0.95) -> Interval:
    """Compute the mean of outcomes in [0, 1] with an interval, for prompts with several outcomes each.

    The interval is over the means of the prompts, since ten answers to one prompt resemble each other and are
    not ten independent prompts. A prompt with more outcomes has a larger weight, as in the mean (ratio
    estimate, Cochran 1977, §6.4). `n` is the number of prompts, `missing` that of missing outcomes.
    """
    mean, units, missing = ratio_estimate(outcomes_by_prompt)
    return Interval(mean, *_share_limits(units, level), units.size, missing)


def clustered_mean(values_by_prompt: Sequence[Sequence[Value]], level: float = 0.95) -> Interval:
    """Compute the mean of values without bounds, such as scores of a reward model, with an interval.

    A prompt may have several values; the interval is Student's t over the means of the prompts.
    """
    mean, units, missing = ratio_estimate(values_by_prompt)
    return Interval(mean, *_t_limits(units, level), units.size, missing)


def ratio_estimate(values_by_prompt: Sequence[Sequence[Value]]) -> tuple[float, Array, int]:
    """Return the mean of all values, one value per prompt that has any, and the number of missing values.

    If all prompts have equally many values, the value of a prompt is the mean of its own values. Otherwise a
    prompt with more values has a larger weight: the values of the prompts have the mean of all values, and
    the variance of the ratio estimate of this mean (Cochran 1977, §6.4).
    """
    groups = [[v for v in values if v is not None and v == v] for values in values_by_prompt]
    total = sum(map(len, values_by_prompt))
    present = [group for group in groups if group]
    if not present:
        raise UserError(f"There is nothing to average: all {total} values are missing.")
    sizes = np.array([len(group) for group in present])
    sums = np.array([float(sum(group)) for group in present])
    mean, weight = float(sums.sum() / sizes.sum()), sizes / sizes.mean()
    return mean, weight * sums / sizes + (1 - weight) * mean, total - int(sizes.sum())


def grouped(values: Sequence[Value], prompts: Sequence[str]) -> list[list[Value]]:
    """Group values by prompt, as `result[prompt][value]`; prompts in order of first occurrence."""
    groups: dict[str, list[Value]] = {}
    for value, prompt in zip(values, prompts, strict=True):
        groups.setdefault(prompt, []).append(value)
    return list(groups.values())


def bounds_of(unit: str, values: Iterable[Value]) -> Bounds | None:
    """Return the bounds of values in a unit: (0, 1) for shares and for rewards that are grades, else None.

    Rewards are grades if they have at most `MOST_GRADES` distinct values, all in [0, 1]. The scores of a
    reward model have more.
    """
    if unit == "share":
        return SHARE
    known = {float(value) for value in values if value is not None and not math.isnan(value)}
    graded = unit == "reward" and len(known) <= MOST_GRADES and all(0 <= value <= 1 for value in known)
    return SHARE if graded else None


def pass_at_k(n: int, c: int, k: int) -> float:
    """Estimate the probability that at least one of k samples is right: 1 - C(n-c, k) / C(n, k).

    c of n ≥ k samples were right. The estimate is unbiased, unlike 1 - (1 - c/n)^k (Chen et al. 2021, arXiv
    2107.03374, equation 1). It is for one prompt; `share_interval` averages over prompts.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


# Two systems on the same prompts ------------------------------------------------------------------------


def paired_difference(
    a: Sequence[Value] | Mapping[str, Value],
    b: Sequence[Value] | Mapping[str, Value],
    level: float = 0.95,
    bounds: Bounds | None = None,
) -> Interval:
    """Compute the mean over prompts of b minus a, with its interval.

    Pass two mappings of prompt id to value, or two sequences in the same order of prompts. A prompt that
    lacks one of its two values is missing. The interval is

    - for values that are all 0 or 1, that of Bonett & Price 2012 (equation 7), which adds one to each
      discordant cell, so that the interval of identical outcomes does not have width 0;
    - for other values with `bounds`, and for values that are all 0, ½ or 1, Student's t over the differences
      after adding one difference at each of the two bounds, for the same reason;
    - otherwise Student's t over the differences (Miller 2024, arXiv 2411.00640, §3.2).
    """
    x, y, missing = _paired(a, b)
    difference = y - x
    both = np.concatenate([x, y])
    if _is_binary(both):
        low, high = _bonett_price(difference, level)
    elif bounds is not None or np.isin(both, (0.0, 0.5, 1.0)).all():
        lowest, highest = bounds or SHARE
        low, high = _bounded_limits(difference, level, (lowest - highest, highest - lowest))
    else:
        low, high = _t_limits(difference, level)
    return Interval(float(difference.mean()), low, high, difference.size, missing)


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the exact binomial test that wins and losses are equally likely.

    Ties count as neither.
    """
    if wins + losses == 0:
        return 1.0
    return float(sps.binomtest(wins, wins + losses).pvalue)


@dataclass(frozen=True)
class McNemar:
    """Result of McNemar's test: numbers of prompts that only a, only b, or both or none solved; p-value."""

    only_a: int
    only_b: int
    same: int
    missing: int
    p: float


def mcnemar(a: Sequence[Value] | Mapping[str, Value], b: Sequence[Value] | Mapping[str, Value]) -> McNemar:
    """Run the exact McNemar test on right/wrong outcomes: the sign test on prompts where a and b differ.

    McNemar 1947; the exact form conditions on the number of discordant prompts.
    """
    x, y, missing = _paired(a, b)
    if not (_is_binary(x) and _is_binary(y)):
        raise ValueError("McNemar's test compares outcomes that are 0 or 1; use paired_difference for others")
    only_a, only_b = int((x > y).sum()), int((y > x).sum())
    return McNemar(only_a, only_b, x.size - only_a - only_b, missing, sign_test(only_b, only_a))


@dataclass(frozen=True)
class Unpaired:
    """The difference b minus a of two shares with known totals only, with z and p of the score test."""

    difference: Interval
    z: float
    p: float


def unpaired_difference(k_a: float, n_a: int, k_b: float, n_b: int, level: float = 0.95) -> Unpaired:
    """Compute the share k_b / n_b minus the share k_a / n_a, as for independent samples of prompts.

    Use it if only totals are known; with outcomes per prompt, `paired_difference` has more power. The
    interval is that of Agresti and Caffo (2000), which adds one success and one failure to each sample; the
    test pools both shares. `n` is the size of the smaller sample.
    """
    a, b = (k_a + 1) / (n_a + 2), (k_b + 1) / (n_b + 2)
    reach = _z(level) * math.sqrt(a * (1 - a) / (n_a + 2) + b * (1 - b) / (n_b + 2))
    difference = Interval(
        k_b / n_b - k_a / n_a, max(-1.0, b - a - reach), min(1.0, b - a + reach), min(n_a, n_b)
    )
    pooled = (k_a + k_b) / (n_a + n_b)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    z = difference.value / spread if spread else 0.0
    return Unpaired(difference, z, float(2 * sps.norm.sf(abs(z))))


# Several comparisons, and how many prompts to ask for ---------------------------------------------------


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's method, which bounds the probability of any false positive.

    p(i)* = max over j ≤ i of (m - j + 1) p(j), at most 1, for p sorted ascending (Holm 1979). The result has
    the order of `p_values`.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def n_to_resolve(difference: float, sd: float = 0.5, power: float = 0.8, level: float = 0.95) -> int:
    """Return the number of prompts needed to distinguish a mean of `difference` from zero with this power.

        n = ((z(level) + z(power)) · sd / difference)²

    `sd` is the standard deviation per prompt, in the unit of `difference`: that of the difference per prompt
    if two systems are compared, and 0.5 (a fair coin) for a win rate against one half.
    """
    if difference == 0:
        raise ValueError("no number of prompts resolves a difference of zero")
    return math.ceil(((_z(level) + float(sps.norm.ppf(power))) * sd / difference) ** 2)


def n_to_resolve_shares(p_a: float, p_b: float, power: float = 0.8, level: float = 0.95) -> int:
    """Return the number of prompts per system needed to distinguish the shares p_a and p_b.

    For systems that are measured on different prompts (Fleiss, Levin & Paik 2003, equation 4.14, without
    continuity correction). With the same prompts for both, fewer usually suffice: see `n_to_resolve` with the
    standard deviation of the paired difference.
    """
    if p_a == p_b:
        raise ValueError("no number of prompts resolves a difference of zero")
    pooled = (p_a + p_b) / 2
    null = _z(level) * math.sqrt(2 * pooled * (1 - pooled))
    alternative = float(sps.norm.ppf(power)) * math.sqrt(p_a * (1 - p_a) + p_b * (1 - p_b))
    return math.ceil(((null + alternative) / (p_a - p_b)) ** 2)


# Parts --------------------------------------------------------------------------------------------------


def _z(level: float) -> float:
    return float(sps.norm.ppf((1 + level) / 2))


def _require_count(k: float, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a share")


def _as_floats(values: Sequence[Value]) -> Array:
    return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)


def _is_binary(values: Array) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _present(values: Sequence[Value]) -> tuple[Array, int]:
    array = _as_floats(values)
    present = array[~np.isnan(array)]
    if not present.size:
        raise UserError(f"There is nothing to average: all {array.size} values are missing.")
    return present, array.size - present.size


def _paired(
    a: Sequence[Value] | Mapping[str, Value], b: Sequence[Value] | Mapping[str, Value]
) -> tuple[Array, Array, int]:
    """Return the values of both systems on the prompts that have both, and the number of other prompts."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        prompts = list(dict.fromkeys([*a, *b]))
        a, b = [a.get(p) for p in prompts], [b.get(p) for p in prompts]
    elif isinstance(a, Mapping) or isinstance(b, Mapping):
        raise ValueError("give both systems as mappings from prompt id, or both as sequences")
    if len(a) != len(b):
        raise ValueError(f"paired values need the same prompts, got {len(a)} and {len(b)} values")
    x, y = _as_floats(a), _as_floats(b)
    both = ~(np.isnan(x) | np.isnan(y))
    if not both.any():
        raise UserError(f"There is nothing to compare: none of the {x.size} prompts has both values.")
    return x[both], y[both], int(x.size - both.sum())


def _t_limits(values: Array, level: float) -> tuple[float, float]:
    if values.size == 1:
        return -math.inf, math.inf
    mean = float(values.mean())
    quantile = stdtrit(values.size - 1, (1 + level) / 2)
    reach = float(quantile * values.std(ddof=1) / math.sqrt(values.size))
    return mean - reach, mean + reach


def _share_limits(values: Array, level: float) -> tuple[float, float]:
    if _is_binary(values):
        return clopper_pearson(float(values.sum()), values.size, level)
    return _bounded_limits(values, level, SHARE)


def _bounded_limits(values: Array, level: float, bounds: Bounds) -> tuple[float, float]:
    """Return Student's t limits of the values with one value added at each bound, cut at the bounds."""
    low, high = _t_limits(np.append(values, bounds), level)
    return max(bounds[0], low), min(bounds[1], high)


def _bonett_price(difference: Array, level: float) -> tuple[float, float]:
    """Return limits for a difference of paired shares; `difference` contains -1, 0 or 1 per prompt."""
    n = difference.size + 2
    up = (float((difference > 0).sum()) + 1) / n
    down = (float((difference < 0).sum()) + 1) / n
    reach = _z(level) * math.sqrt((up + down - (up - down) ** 2) / n)
    return max(-1.0, up - down - reach), min(1.0, up - down + reach)
