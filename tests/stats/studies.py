"""Simulated studies of n prompts, and the intervals that boresight and others give to each.

A scenario yields variants: a study has more to it than the share of successes, such as how alike the prompts
are. A variant holds how often the intervals contain the true value and how wide they are on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from scipy import stats as sps

from boresight.core.errors import UserError
from boresight.stats.intervals import (
    DIFFERENCE,
    SHARE,
    clopper_pearson,
    clustered_mean,
    clustered_share,
    mean_interval,
    paired_difference,
    share_interval,
    unpaired_difference,
)
from boresight.stats.length import length_controlled_win_rate
from boresight.stats.over_seeds import difference_over_seeds, over_seeds
from boresight.stats.paired import paired_metric
from boresight.stats.pooled_seeds import SeedValues, pooled_difference, pooled_mean
from boresight.stats.ranking import Game, bradley_terry

STUDIES = 2000


@dataclass
class Studies:
    """Intervals of many studies: how many contain the truth, and how wide they are on average."""

    hits: int = 0
    width: float = 0.0
    shown: int = 0

    def add(self, low: float, high: float, truth: float, times: int = 1) -> None:
        self.hits += times * (low <= truth <= high and low < high)  # a point claims certainty
        self.width += times * (high - low)
        self.shown += times

    @property
    def coverage(self) -> float:
        return self.hits / self.shown

    @property
    def mean_width(self) -> float:
        return self.width / self.shown


@dataclass
class Variant:
    """Results of one way to draw studies: of the product's interval, and of the alternatives by name."""

    name: str
    ours: Studies = field(default_factory=Studies)
    others: dict[str, Studies] = field(default_factory=dict)

    def other(self, name: str, low: float, high: float, truth: float, times: int = 1) -> None:
        self.others.setdefault(name, Studies()).add(low, high, truth, times)


Simulate = Callable[[np.random.Generator, int, float], Iterator[Variant]]


def shares(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """n prompts, solved or not. One interval per count stands for all studies with that count."""
    variant = Variant("solved or not")
    counts = np.bincount(rng.binomial(n, share, STUDIES), minlength=n + 1)
    for k in np.flatnonzero(counts):
        times = int(counts[k])
        found = share_interval([1.0] * k + [0.0] * (n - k))
        variant.ours.add(found.low, found.high, share, times)
        variant.other("Wilson", *_wilson(int(k), n), share, times)
        variant.other("Clopper-Pearson", *clopper_pearson(int(k), n), share, times)
    yield variant


def ties(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """n prompts won, tied or lost: part of the mean outcome `share` is owed to ties."""
    for tied in (0.2, 0.6, 0.9):
        variant = Variant(f"{tied:.0%} of the rarer side tied")
        draws = _outcomes(rng, n, share, tied)
        for values, times in _distinct(draws):
            found = share_interval(values)
            variant.ours.add(found.low, found.high, share, times)
            variant.other("t", *_t(values), share, times)
            variant.other("Wilson", *_wilson(values.sum(), n), share, times)
            variant.other("Clopper-Pearson", *clopper_pearson(values.sum(), n), share, times)
        yield variant


def grades(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """Rewards 0, 0.1 and 1 of n greedy answers, as in the public Countdown score; `share` of them are 1."""
    for of_form in (0.05, 0.5):
        variant = Variant(f"{of_form:.0%} of the rest of the right form")
        formatted = of_form * (1 - share)
        truth = share + 0.1 * formatted
        u = rng.random((STUDIES, n))
        draws = np.where(u < share, 1.0, np.where(u < share + formatted, 0.1, 0.0))
        for values, times in _distinct(draws):
            by_id = dict(enumerate(values.tolist()))
            found = paired_metric("reward", "reward", "reward", "higher", by_id, by_id).after
            variant.ours.add(found.low, found.high, truth, times)
            variant.other("t", *_t(values), truth, times)
        yield variant


def clusters(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """Four samples of n problems; problems may be alike, or nearly all solved always or never."""
    for alike in (0.3, 3.0, math.inf):
        variant = Variant(f"problems alike: {alike:g}")
        each = np.full((STUDIES, n), share)
        if math.isfinite(alike):
            each = rng.beta(share * alike, (1 - share) * alike, (STUDIES, n))
        for values, times in _distinct(rng.binomial(4, each) / 4):
            solved = [[1.0] * round(4 * v) + [0.0] * round(4 - 4 * v) for v in values]
            found = clustered_share(solved)
            variant.ours.add(found.low, found.high, share, times)
            variant.other("t", *_t(values), share, times)
        yield variant


def means(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """Values without bounds, symmetric and skewed; `share` plays no part."""
    for name, draws, truth in (
        ("normal", rng.normal(1, 2, (STUDIES, n)), 1.0),
        ("gamma", rng.gamma(4, 1, (STUDIES, n)), 4.0),
    ):
        variant = Variant(name)
        for values in draws:
            found = mean_interval(values)
            variant.ours.add(found.low, found.high, truth)
            variant.other("t", *_t(values), truth)
        yield variant
    variant = Variant("two values of each prompt")
    for middle, apart in zip(rng.normal(1, 2, (STUDIES, n)), rng.normal(0, 1, (STUDIES, n)), strict=True):
        found = clustered_mean(list(zip(middle + apart, middle - apart, strict=True)))
        variant.ours.add(found.low, found.high, 1.0)
        variant.other("t", *_t(middle), 1.0)
    yield variant


def paired_shares(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """Two systems on n prompts: independent and equal, one twice as good, one that only adds."""
    a = rng.random((STUDIES, n)) < share
    better = min(2 * share, 0.98)
    drawn = {
        "equal": (rng.random((STUDIES, n)) < share, 0.0),
        "twice as good": (rng.random((STUDIES, n)) < better, better - share),
        "only adds": (a | (rng.random((STUDIES, n)) < share), share * (1 - share)),
    }
    for name, (b, truth) in drawn.items():
        variant = Variant(name)
        for both, times in _distinct(a.astype(float) + 2 * b):
            x, y = both % 2, both // 2
            found = paired_difference(x, y)
            variant.ours.add(found.low, found.high, truth, times)
            variant.other("Newcombe", *_newcombe_paired(x, y), truth, times)
            variant.other("t", *_t(y - x), truth, times)
        yield variant


def paired_outcomes(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """Two systems whose outcomes are 0, 1/2 or 1: independent and equal, and one that only adds."""
    a, b = _outcomes(rng, n, share, 0.6), _outcomes(rng, n, share, 0.6)
    added = np.where(rng.random((STUDIES, n)) < share, 1.0, a)
    for name, other, truth in (("equal", b, 0.0), ("only adds", added, share * (1 - share))):
        variant = Variant(name)
        for both, times in _distinct(2 * a + 6 * other):
            x, y = both % 3 / 2, both // 3 / 2
            found = paired_difference(x, y)
            variant.ours.add(found.low, found.high, truth, times)
            variant.other("t", *_t(y - x), truth, times)
        yield variant


def unpaired_shares(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """Totals of two systems asked different prompts: equal, one twice as good, one with no success at all."""
    better = min(2 * share, 0.98)
    for name, a, b in (("equal", share, share), ("twice as good", share, better), ("against none", 0, share)):
        variant = Variant(name)
        totals = np.stack([rng.binomial(n, a, STUDIES), rng.binomial(n, b, STUDIES)], axis=1)
        for (k_a, k_b), times in zip(*np.unique(totals, axis=0, return_counts=True), strict=True):
            found = unpaired_difference(int(k_a), n, int(k_b), n).difference
            variant.ours.add(found.low, found.high, b - a, times)
            variant.other("t", *_t_of_totals(k_a / n, k_b / n, n), b - a, times)
            variant.other("Newcombe", *_newcombe(k_a, k_b, n), b - a, times)
        yield variant


def seeds(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """n prompts answered by 2 and 3 models of one recipe that differ by their seed, not at all or clearly."""
    for count in (2, 3):
        for spread in (0.0, 0.5):
            chance, truth = _chances(rng, n, share, count, spread)
            solved = (rng.random(chance.shape) < chance).astype(float)
            variant = Variant(f"{count} seeds, {spread} apart")
            for table in solved:
                found = over_seeds(_by_prompt(table), bounds=SHARE).mean
                variant.ours.add(found.low, found.high, truth)
                variant.other("t over seeds", *_t(table.mean(axis=1)), truth)
            yield variant


def differences_over_seeds(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """Two equal recipes, each trained with 2 seeds and asked the same n prompts."""
    for spread in (0.0, 0.5):
        chance, _ = _chances(rng, n, share, 4, spread)
        solved = (rng.random(chance.shape) < chance).astype(float)
        variant = Variant(f"seeds {spread} apart")
        for table in solved:
            found = difference_over_seeds(_by_prompt(table[:2]), _by_prompt(table[2:]), bounds=DIFFERENCE)
            variant.ours.add(found.mean.low, found.mean.high, 0.0)
            variant.other("t over seeds", *_t((table[2:] - table[:2]).mean(axis=1)), 0.0)
        yield variant


def pooled_seeds(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """Two of six equal recipes with three seeds each, all asked the same n prompts; seeds pooled over six."""
    for spread in (0.0, 0.5):
        chance, _ = _chances(rng, n, share, 18, spread)
        solved = (rng.random(chance.shape) < chance).astype(float)
        variant = Variant(f"seeds {spread} apart")
        for table in solved:
            arms = [SeedValues(_by_prompt(table[first : first + 3])) for first in range(0, 18, 3)]
            found = pooled_difference(arms[0], arms[1], arms, bounds=SHARE).mean
            variant.ours.add(found.low, found.high, 0.0)
            variant.other("t over seeds", *_t((table[3:6] - table[:3]).mean(axis=1)), 0.0)
        yield variant


def pooled_means(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """One of four equal recipes with three seeds each, asked the same n prompts; seeds pooled over four."""
    for spread in (0.0, 0.5):
        chance, truth = _chances(rng, n, share, 12, spread)
        solved = (rng.random(chance.shape) < chance).astype(float)
        variant = Variant(f"seeds {spread} apart")
        for table in solved:
            arms = [SeedValues(_by_prompt(table[first : first + 3])) for first in range(0, 12, 3)]
            found = pooled_mean(arms[0], arms, bounds=SHARE)
            variant.ours.add(found.low, found.high, truth)
            variant.other("t over seeds", *_t(table[:3].mean(axis=1)), truth)
        yield variant


def length_controlled(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """A judge that likes length; `share` is the win rate at equal length. Refusals are not shown."""
    theta = math.log(share / (1 - share))
    at_equal_length, effect = Variant("at equal length"), Variant("length effect")
    for _ in range(STUDIES):
        gap = rng.normal(0, 100, n).round()
        chance = 1 / (1 + np.exp(-theta - np.tanh(gap / gap.std())))
        outcomes = (rng.random(n) < chance).astype(float)
        try:
            found = length_controlled_win_rate(outcomes, np.maximum(gap, 0), np.maximum(-gap, 0))
        except UserError:
            continue
        at_equal_length.ours.add(found.at_equal_length.low, found.at_equal_length.high, share)
        effect.ours.add(found.length_effect.low, found.length_effect.high, 1.0)
    yield at_equal_length
    yield effect


def rankings(rng: np.random.Generator, n: int, share: float) -> Iterator[Variant]:
    """Three systems, every pair on n prompts; the last one wins `share` against either of the others."""
    gap = math.log(share / (1 - share))
    strength = {"a": -gap / 3, "b": -gap / 3, "c": 2 * gap / 3}
    first, last = Variant("a"), Variant("c")
    for _ in range(STUDIES):
        games = [
            Game(str(prompt), x, y, float(won))
            for x, y in ("ab", "ac", "bc")
            for prompt, won in enumerate(rng.random(n) < 1 / (1 + math.exp(strength[y] - strength[x])))
        ]
        try:
            found = bradley_terry(games).strength
        except UserError:
            continue
        first.ours.add(found["a"].low, found["a"].high, strength["a"])
        last.ours.add(found["c"].low, found["c"].high, strength["c"])
    yield first
    yield last


# Draws and alternatives


def _outcomes(rng: np.random.Generator, n: int, share: float, tied: float) -> np.ndarray:
    """Studies of outcomes 0, 1/2, 1 with mean `share`; `tied` of the rarer side's mass are ties."""
    tie = 2 * tied * min(share, 1 - share)
    u = rng.random((STUDIES, n))
    return np.where(u < share - tie / 2, 1.0, np.where(u < share + tie / 2, 0.5, 0.0))


def _chances(
    rng: np.random.Generator, n: int, share: float, seeds: int, spread: float
) -> tuple[np.ndarray, float]:
    """Chances `(studies, seeds, prompts)` on the logit scale, prompts 2 apart, and their true mean."""
    middle = math.log(share / (1 - share))
    logits = middle + rng.normal(0, spread, (STUDIES, seeds, 1)) + rng.normal(0, 2, (STUDIES, 1, n))
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    truth = (weights / (1 + np.exp(-middle - math.hypot(2, spread) * nodes))).sum() / weights.sum()
    return 1 / (1 + np.exp(-logits)), float(truth)


def _distinct(draws: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Every different study once, whatever the order of its prompts, and how often it was drawn."""
    values = np.unique(draws)
    counts = np.stack([(draws == value).sum(axis=1) for value in values], axis=1)
    studies, times = np.unique(counts, axis=0, return_counts=True)
    for study, often in zip(studies, times.tolist(), strict=True):
        yield np.repeat(values, study), often


def _by_prompt(table: np.ndarray) -> list[dict[int, float]]:
    return [dict(enumerate(row.tolist())) for row in table]


@cache
def _t_quantile(freedom: int) -> float:
    return float(sps.t.ppf(0.975, freedom))


def _t(values: np.ndarray) -> tuple[float, float]:
    reach = _t_quantile(values.size - 1) * values.std(ddof=1) / math.sqrt(values.size)
    return values.mean() - reach, values.mean() + reach


def _wilson(k: float, n: int) -> tuple[float, float]:
    """Wilson's score interval for a share of k in n (Wilson 1927)."""
    z, p = 1.959964, k / n
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    middle, scale = p + z * z / (2 * n), 1 + z * z / n
    return max(0.0, min(p, (middle - reach) / scale)), min(1.0, max(p, (middle + reach) / scale))


def _newcombe(k_a: int, k_b: int, n: int) -> tuple[float, float]:
    """Newcombe 1998 (Statistics in Medicine 17:873), method 10, for b minus a."""
    a, b, (low_a, high_a), (low_b, high_b) = k_a / n, k_b / n, _wilson(k_a, n), _wilson(k_b, n)
    return b - a - math.hypot(b - low_b, high_a - a), b - a + math.hypot(high_b - b, a - low_a)


def _newcombe_paired(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Newcombe 1998 (Statistics in Medicine 17:2635), method 10, for b minus a."""
    n, a, b = x.size, x.mean(), y.mean()
    (low_a, high_a), (low_b, high_b) = _wilson(x.sum(), n), _wilson(y.sum(), n)
    spread = math.sqrt(a * (1 - a) * b * (1 - b))
    phi = ((x * y).mean() - a * b) / spread if spread else 0.0
    down = (b - low_b) ** 2 - 2 * phi * (b - low_b) * (high_a - a) + (high_a - a) ** 2
    up = (high_b - b) ** 2 - 2 * phi * (high_b - b) * (a - low_a) + (a - low_a) ** 2
    return b - a - math.sqrt(max(0, down)), b - a + math.sqrt(max(0, up))


def _t_of_totals(a: float, b: float, n: int) -> tuple[float, float]:
    """Student's t for the difference of the means of two samples of 0 and 1, both of size n."""
    reach = _t_quantile(2 * n - 2) * math.sqrt((a * (1 - a) + b * (1 - b)) / (n - 1))
    return b - a - reach, b - a + reach
