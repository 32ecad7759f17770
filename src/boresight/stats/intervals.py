"""How sure can we be? Intervals, paired tests and sample sizes for comparing systems.

Everything here is a pure function of numbers. Three rules hold throughout:

- A missing value (None or NaN: a failed judgement, an answer that could not be scored) is left out and
  counted in `Interval.missing`. It is never a zero, a loss or a tie.
- Two systems are compared on the same prompts, by their difference per prompt.
- Prompts are the independent unit. Several values of one prompt are kept together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats as sps

from boresight.core.errors import UserError

Value = float | int | bool | None
"""One measurement; None or NaN when it is missing."""

Array = NDArray[np.float64]

Z95 = 1.959964
"""97.5 % quantile of the normal distribution: half-width of a 95 % interval in standard errors."""


@dataclass(frozen=True)
class Interval:
    """An estimate, its confidence limits, and how many prompts they rest on."""

    value: float
    low: float
    high: float
    n: int
    missing: int = 0

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference with this interval is resolved: zero lies outside it."""
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
        """For evaluation.json."""
        return asdict(self)


# One sample ---------------------------------------------------------------------------------------------


def wilson(k: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share of k in n; (0, 1) when n is 0, since then nothing is known.

        (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)

    k may be half-integer: ties count one half. A tie varies less than a coin, so the interval is then
    a little wide, never narrow. Wilson 1927; Brown, Cai & DasGupta 2001.
    """
    _require_count(k, n)
    if n == 0:
        return 0.0, 1.0
    z = _z(level)
    p = k / n
    centre = p + z * z / (2 * n)
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Rounding must not push the limit of 0/n or n/n past the share itself.
    return max(0.0, min(p, (centre - reach) / scale)), min(1.0, max(p, (centre + reach) / scale))


def share_interval(outcomes: Sequence[Value], level: float = 0.95) -> Interval:
    """The mean of outcomes in [0, 1] (1 won, 0.5 tied, 0 lost) with Wilson's interval."""
    present, missing = _present(outcomes)
    if present.min() < 0 or present.max() > 1:
        raise ValueError("outcomes of a share lie between 0 and 1")
    low, high = wilson(float(present.sum()), present.size, level)
    return Interval(float(present.mean()), low, high, present.size, missing)


def mean_interval(values: Sequence[Value], level: float = 0.95) -> Interval:
    """The mean with Student's t interval: mean ± t(n-1) s/√n. One value alone has no interval (±∞)."""
    present, missing = _present(values)
    low, high = _t_limits(present, level)
    return Interval(float(present.mean()), low, high, present.size, missing)


def cluster_bootstrap(
    values_by_prompt: Mapping[str, Sequence[Value]] | Sequence[Sequence[Value]],
    statistic: Callable[[Array], float] | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """A statistic of all values, with a percentile interval from resampling whole prompts.

    `statistic` maps the pooled values of the drawn prompts to a number; the default is their mean.
    Resampling single rows instead would treat two judgements of one prompt as independent and give an
    interval that is too narrow. `n` counts prompts, `missing` counts values. With fewer than about 30
    prompts the interval is narrower than it should be. Davison & Hinkley 1997, §2.4 and §3.8.
    """
    groups = list(values_by_prompt.values() if isinstance(values_by_prompt, Mapping) else values_by_prompt)
    arrays = [_as_floats(group) for group in groups]
    kept = [array[~np.isnan(array)] for array in arrays]
    missing = sum(a.size - k.size for a, k in zip(arrays, kept, strict=True))
    kept = [k for k in kept if k.size]
    if not kept:
        raise UserError(f"There is nothing to average: all {missing} values are missing.")
    value = float((statistic or np.mean)(np.concatenate(kept)))
    picks = np.random.default_rng(seed).integers(len(kept), size=(draws, len(kept)))
    if statistic is None:
        sums = np.array([k.sum() for k in kept])
        sizes = np.array([k.size for k in kept])
        drawn = sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    else:
        drawn = np.array([statistic(np.concatenate([kept[i] for i in pick])) for pick in picks])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), len(kept), missing)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k samples is right, from c right of n ≥ k: 1 - C(n-c, k) / C(n, k).

    Unbiased, unlike 1 - (1 - c/n)^k. Chen et al. 2021 (arXiv 2107.03374), equation 1. This is for one prompt:
    average over prompts, and bootstrap prompts for the interval.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


# Two systems on the same prompts ------------------------------------------------------------------------


def paired_difference(
    a: Sequence[Value] | Mapping[str, Value],
    b: Sequence[Value] | Mapping[str, Value],
    level: float = 0.95,
    bootstrap_seed: int | None = None,
) -> Interval:
    """The mean over prompts of b minus a, with its interval.

    Give two mappings prompt id -> value, or two sequences in the same prompt order. A prompt that lacks
    either value is missing. The interval is

    - for values that are all 0 or 1, Bonett & Price 2012 (equation 7): one is added to each discordant cell,
      so five prompts that all agree do not read as certainty;
    - otherwise Student's t over the differences (Miller 2024, arXiv 2411.00640, §3.2);
    - the percentile bootstrap over prompts instead of either when `bootstrap_seed` is given.
    """
    x, y, missing = _paired(a, b)
    difference = y - x
    if bootstrap_seed is not None:
        found = cluster_bootstrap([[float(d)] for d in difference], seed=bootstrap_seed, level=level)
        return Interval(found.value, found.low, found.high, found.n, missing)
    is_binary = np.isin(x, (0.0, 1.0)).all() and np.isin(y, (0.0, 1.0)).all()
    low, high = (_bonett_price if is_binary else _t_limits)(difference, level)
    return Interval(float(difference.mean()), low, high, difference.size, missing)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p-value of wins against losses under a fair coin; leave ties out of both. Exact binomial."""
    if wins + losses == 0:
        return 1.0
    return float(sps.binomtest(wins, wins + losses).pvalue)


@dataclass(frozen=True)
class McNemar:
    """How two systems with right/wrong outcomes disagree."""

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
    if not (np.isin(x, (0.0, 1.0)).all() and np.isin(y, (0.0, 1.0)).all()):
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
    """Share k_b / n_b minus share k_a / n_a, as if the two had been asked different prompts.

    For totals alone: where outcomes per prompt are known, `paired_difference` sees more. The interval joins
    two Wilson intervals (Newcombe 1998, method 10), the test pools both shares. `n` is the smaller sample.
    """
    a, b = k_a / n_a, k_b / n_b
    low_a, high_a = wilson(k_a, n_a, level)
    low_b, high_b = wilson(k_b, n_b, level)
    difference = Interval(
        b - a,
        b - a - math.hypot(b - low_b, high_a - a),
        b - a + math.hypot(high_b - b, a - low_a),
        min(n_a, n_b),
    )
    pooled = (k_a + k_b) / (n_a + n_b)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    z = (b - a) / spread if spread else 0.0
    return Unpaired(difference, z, float(2 * sps.norm.sf(abs(z))))


# Several comparisons, and how many prompts to ask for ---------------------------------------------------


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of any false finding at the level asked for, in the given order.

    p(i)* = max over j ≤ i of (m - j + 1) p(j), at most 1, for p sorted ascending.   Holm 1979.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def n_to_resolve(difference: float, sd: float = 0.5, power: float = 0.8, level: float = 0.95) -> int:
    """Prompts needed to see a mean of `difference` against zero with the given power.

        n = ((z(level) + z(power)) · sd / difference)²

    `sd` is the standard deviation per prompt, in the unit of `difference`: of the per-prompt difference when
    two systems are compared, and 0.5 (a coin) for a win rate against one half.
    """
    if difference == 0:
        raise ValueError("no number of prompts resolves a difference of zero")
    return math.ceil(((_z(level) + float(sps.norm.ppf(power))) * sd / difference) ** 2)


def n_to_resolve_shares(p_a: float, p_b: float, power: float = 0.8, level: float = 0.95) -> int:
    """Prompts for *each* of two systems asked different prompts, to tell share p_a from p_b.

    Fleiss, Levin & Paik 2003, equation 4.14, without continuity correction. Asking both the same prompts
    (`n_to_resolve` with the sd of the paired difference) usually needs fewer.
    """
    if p_a == p_b:
        raise ValueError("no number of prompts resolves a difference of zero")
    pooled = (p_a + p_b) / 2
    null = _z(level) * math.sqrt(2 * pooled * (1 - pooled))
    alternative = float(sps.norm.ppf(power)) * math.sqrt(p_a * (1 - p_a) + p_b * (1 - p_b))
    return math.ceil(((null + alternative) / (p_a - p_b)) ** 2)


# Two judges on the same items ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """How often two judges agree, raw and beyond chance; kappa is None when both gave one same label."""

    accuracy: Interval
    kappa: float | None


def agreement(a: Sequence[Hashable | None], b: Sequence[Hashable | None]) -> Agreement:
    """Agreement of two judges' labels, item by item: share that agree (Wilson) and Cohen's kappa.

        kappa = (observed - chance) / (1 - chance), chance = Σ over labels of p_a(label) p_b(label)

    Cohen 1960. Items without a label (None) from either judge are missing.
    """
    if len(a) != len(b):
        raise ValueError(f"agreement needs one label of each judge per item, got {len(a)} and {len(b)}")
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not pairs:
        raise UserError(f"There is nothing to compare: all {len(a)} labels are missing.")
    same = share_interval([x == y for x, y in pairs])
    labels = {label for pair in pairs for label in pair}
    chance = (
        sum(sum(x == label for x, _ in pairs) * sum(y == label for _, y in pairs) for label in labels)
        / len(pairs) ** 2
    )
    kappa = None if chance == 1 else (same.value - chance) / (1 - chance)
    return Agreement(Interval(same.value, same.low, same.high, same.n, len(a) - len(pairs)), kappa)


# Parts --------------------------------------------------------------------------------------------------


def _z(level: float) -> float:
    return float(sps.norm.ppf((1 + level) / 2))


def _require_count(k: float, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a share")


def _as_floats(values: Sequence[Value]) -> Array:
    return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)


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
    reach = float(sps.t.ppf((1 + level) / 2, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size))
    return mean - reach, mean + reach


def _bonett_price(difference: Array, level: float) -> tuple[float, float]:
    """Limits for a difference of paired shares; `difference` holds -1, 0 or 1 per prompt."""
    n = difference.size + 2
    up = (float((difference > 0).sum()) + 1) / n
    down = (float((difference < 0).sum()) + 1) / n
    reach = _z(level) * math.sqrt((up + down - (up - down) ** 2) / n)
    return max(-1.0, up - down - reach), min(1.0, up - down + reach)
