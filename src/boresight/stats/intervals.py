"""Intervals, paired tests and sample sizes for comparing systems.

Everything here is a pure function of numbers. Three rules hold throughout:

- A missing value (None or NaN: a failed judgment, an answer that could not be scored) is excluded and counted
in `Interval.missing`. It is never a zero, a loss or a tie.
- Two systems are compared on the same prompts, by their difference per prompt.
- Prompts are the independent unit. Several values of one prompt are kept together.

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
"""One measurement; None or NaN when it is missing."""

Array = NDArray[np.float64]

Bounds = tuple[float, float]
"""Smallest and largest possible value."""
SHARE: Bounds = (0.0, 1.0)
"""Bounds of outcomes such as right or wrong."""
DIFFERENCE: Bounds = (-1.0, 1.0)
"""Bounds of the difference of two such outcomes."""
MOST_GRADES = 5
"""Largest number of distinct values of rewards in [0, 1] that count as grades, such as 0, 0.1 and 1."""

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
        """The same interval in another unit, e.g. `scaled(100)` for points."""
        low, high = sorted((self.low * factor, self.high * factor))
        return Interval(self.value * factor, low, high, self.n, self.missing)

    def transformed(self, increasing: Callable[[float], float]) -> Interval:
        """The interval of an increasing function of the estimate."""
        limits = increasing(self.low), increasing(self.high)
        return Interval(increasing(self.value), *limits, self.n, self.missing)

    def as_dict(self) -> dict[str, float | int]:
        """The interval as a dictionary, as in `evaluation.json`."""
        return asdict(self)


# One sample ---------------------------------------------------------------------------------------------


def clopper_pearson(k: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval for k in n: never covers less than `level`. (0, 1) when n is 0.

    Limits are quantiles of Beta(k, n-k+1) and Beta(k+1, n-k). Clopper & Pearson 1934. k may be half-integer,
    where only totals are known and ties count one half. The variance of ties is smaller than that of wins and
    losses, so the interval is then conservative; `share_interval`, given the outcomes, is narrower.
    """
    _require_count(k, n)
    if n == 0:
        return SHARE
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(sps.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(sps.beta.ppf(1 - tail, k + 1, n - k))
    return low, high


def share_interval(outcomes: Sequence[Value], level: float = 0.95) -> Interval:
    """The mean of outcomes in [0, 1] (1 won, 0.5 tied, 0 lost).

    The interval is Clopper and Pearson's where all outcomes are 0 or 1, and that of `mean_interval` with the
    bounds 0 and 1 otherwise.
    """
    present, missing = _present(outcomes)
    if present.min() < 0 or present.max() > 1:
        raise ValueError("outcomes of a share lie between 0 and 1")
    return Interval(float(present.mean()), *_share_limits(present, level), present.size, missing)


def mean_interval(values: Sequence[Value], level: float = 0.95, bounds: Bounds | None = None) -> Interval:
    """The mean with Student's t interval: mean ± t(n-1) s/√n. One value alone has no interval (±∞).

    With `bounds`, the limits are those of the values with one more at either bound (Agresti & Caffo 2000), so
    that the interval of identical values has a width.
    """
    present, missing = _present(values)
    low, high = _t_limits(present, level) if bounds is None else _bounded_limits(present, level, bounds)
    return Interval(float(present.mean()), low, high, present.size, missing)


def clustered_share(outcomes_by_prompt: Sequence[Sequence[Value]], level: float = 0.95) -> Interval:
    """The mean of all outcomes in [0, 1], of which a prompt has several.

    The interval is that of the prompts' means: ten answers to one prompt resemble each other, and are not ten
    prompts. A prompt with more outcomes weighs more, as it does in the mean (ratio estimate, Cochran 1977,
    §6.4). `n` counts prompts, `missing` counts outcomes.
    """
    mean, units, missing = ratio_estimate(outcomes_by_prompt)
    return Interval(mean, *_share_limits(units, level), units.size, missing)


def clustered_mean(values_by_prompt: Sequence[Sequence[Value]], level: float = 0.95) -> Interval:
    """The mean of values without bounds, such as a reward model's scores, of which a prompt has several,
    with Student's interval of the prompts' means."""
    mean, units, missing = ratio_estimate(values_by_prompt)
    return Interval(mean, *_t_limits(units, level), units.size, missing)


def ratio_estimate(values_by_prompt: Sequence[Sequence[Value]]) -> tuple[float, Array, int]:
    """The mean of all values, one value per prompt that has any, and how many values are missing.

    A prompt's value is the mean of its own where all prompts have as many. A prompt with more of them weighs
    more: the values of the prompts have the mean of all values, and the variance of its ratio estimate
    (Cochran 1977, §6.4).
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
    """The values of each prompt, prompts in the order in which they first occur."""
    groups: dict[str, list[Value]] = {}
    for value, prompt in zip(values, prompts, strict=True):
        groups.setdefault(prompt, []).append(value)
    return list(groups.values())


def bounds_of(unit: str, values: Iterable[Value]) -> Bounds | None:
    """Bounds of values of a unit: shares lie in [0, 1], and so do rewards that are grades; others have none.

    Grades are few: at most `MOST_GRADES` distinct values, all in [0, 1]. A reward model's scores are many.
    """
    if unit == "share":
        return SHARE
    known = {float(value) for value in values if value is not None and not math.isnan(value)}
    graded = unit == "reward" and len(known) <= MOST_GRADES and all(0 <= value <= 1 for value in known)
    return SHARE if graded else None


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k samples is right, from c right of n ≥ k: 1 - C(n-c, k) / C(n, k).

    Unbiased, unlike 1 - (1 - c/n)^k. Chen et al. 2021 (arXiv 2107.03374), equation 1. This is for one prompt:
    `share_interval` averages over prompts.
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
    """The mean over prompts of b minus a, with its interval.

    Give two mappings prompt id -> value, or two sequences in the same prompt order. A prompt that lacks
    either value is missing. The interval is

    - for values that are all 0 or 1, Bonett & Price 2012 (equation 7): one is added to each discordant cell,
      so the interval of five identical outcomes has a width;
    - for other values with `bounds`, and for values that are all 0, ½ or 1, Student's t over the differences
      with one more difference at either bound, for the same reason;
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
    """Two-sided p-value of wins against losses under a fair coin; leave ties out of both. Exact binomial."""
    if wins + losses == 0:
        return 1.0
    return float(sps.binomtest(wins, wins + losses).pvalue)


@dataclass(frozen=True)
class McNemar:
    """Agreement of two systems with right/wrong outcomes: counts, and the p-value."""

    only_a: int
    only_b: int
    same: int
    missing: int
    p: float


def mcnemar(a: Sequence[Value] | Mapping[str, Value], b: Sequence[Value] | Mapping[str, Value]) -> McNemar:
    """Exact McNemar test on right/wrong outcomes per prompt: the sign test on prompts where a and b differ.

    McNemar 1947; the exact form conditions on the number of discordant prompts.
    """
    x, y, missing = _paired(a, b)
    if not (_is_binary(x) and _is_binary(y)):
        raise ValueError("McNemar's test compares outcomes that are 0 or 1; use paired_difference for others")
    only_a, only_b = int((x > y).sum()), int((y > x).sum())
    return McNemar(only_a, only_b, x.size - only_a - only_b, missing, sign_test(only_b, only_a))


@dataclass(frozen=True)
class Unpaired:
    """Two shares of which only the totals are known: b minus a, and the score test's z and p."""

    difference: Interval
    z: float
    p: float


def unpaired_difference(k_a: float, n_a: int, k_b: float, n_b: int, level: float = 0.95) -> Unpaired:
    """Share k_b / n_b minus share k_a / n_a, as for independent samples of prompts.

    For totals alone: if outcomes per prompt are known, `paired_difference` has more power. The interval is
    Agresti and Caffo's (2000), with one success and one failure added to each; the test pools both shares.
    `n` is the smaller sample.
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
    """p-values adjusted by Holm's method, which bounds the chance of any false finding, in the given order.

    p(i)* = max over j ≤ i of (m - j + 1) p(j), at most 1, for p sorted ascending. Holm 1979.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def n_to_resolve(difference: float, sd: float = 0.5, power: float = 0.8, level: float = 0.95) -> int:
    """Number of prompts needed to distinguish a mean of `difference` from zero with the given power.

        n = ((z(level) + z(power)) · sd / difference)²

    `sd` is the standard deviation per prompt, in the unit of `difference`: of the per-prompt difference when
    two systems are compared, and 0.5 (a coin) for a win rate against one half.
    """
    if difference == 0:
        raise ValueError("no number of prompts resolves a difference of zero")
    return math.ceil(((_z(level) + float(sps.norm.ppf(power))) * sd / difference) ** 2)


def n_to_resolve_shares(p_a: float, p_b: float, power: float = 0.8, level: float = 0.95) -> int:
    """Number of prompts per system, for two systems with different prompts, to distinguish share p_a from
    p_b.

    Fleiss, Levin & Paik 2003, equation 4.14, without continuity correction. The same prompts for both
    (`n_to_resolve` with the sd of the paired difference) usually need fewer.
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
    """Values of both systems on the prompts that have both, and how many prompts do not."""
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
    """Student's t limits of the values with one more at either bound, cut at the bounds."""
    low, high = _t_limits(np.append(values, bounds), level)
    return max(bounds[0], low), min(bounds[1], high)


def _bonett_price(difference: Array, level: float) -> tuple[float, float]:
    """Limits for a difference of paired shares; `difference` holds -1, 0 or 1 per prompt."""
    n = difference.size + 2
    up = (float((difference > 0).sum()) + 1) / n
    down = (float((difference < 0).sum()) + 1) / n
    reach = _z(level) * math.sqrt((up + down - (up - down) ** 2) / n)
    return max(-1.0, up - down - reach), min(1.0, up - down + reach)
