"""Compute exact expectations over k of the n samples of one problem: best of k and majority of k.

    best_of_k(values, ranks, k=4)                   # value of the highest-ranked of 4
    majority_at_k(values, answers, k=4)             # value of the most frequent answer of 4

Like `intervals.pass_at_k`, these are expectations over all subsets of k samples, each equally likely. They
are unbiased estimates for k new samples and involve no randomness. Ties are averaged: samples with the same
rank have equal weights, and so have answers that are given equally often.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np
from scipy.stats import binom

from boresight.stats.intervals import Array


def best_of_k(values: Sequence[float], ranks: Sequence[float], k: int) -> float:
    """Compute the expected value of the highest-ranked of k samples; `values` and `ranks` have length n.

    For g samples with the same rank and h samples ranked above them, the probability that the highest of k
    samples is one of the g is (C(n-h, k) - C(n-h-g, k)) / C(n, k), equally shared among the g.
    """
    n = len(values)
    _require_k(n, k, len(ranks))
    by_rank: dict[float, list[float]] = {}
    for value, rank in zip(values, ranks, strict=True):
        by_rank.setdefault(float(rank), []).append(float(value))
    expected, below = 0.0, n
    for rank in sorted(by_rank, reverse=True):
        alike = by_rank[rank]
        first = math.comb(below, k) - math.comb(below - len(alike), k)
        expected += first / math.comb(n, k) * math.fsum(alike) / len(alike)
        below -= len(alike)
    return expected


def majority_at_k(values: Sequence[float], answers: Sequence[Hashable | None], k: int) -> float:
    """Compute the expected value of the most frequent answer of k samples; both lists have length n.

    A sample whose answer is None does not vote; if none of the k votes, the result is the mean of their
    values. The value of an answer is the mean over the samples that give it.
    """
    _require_k(len(values), k, len(answers))
    by_answer: dict[Hashable, list[float]] = {}
    silent: list[float] = []
    for value, answer in zip(values, answers, strict=True):
        (silent if answer is None else by_answer.setdefault(answer, [])).append(float(value))
    sizes = tuple(sorted(map(len, by_answer.values())))
    chances = _chances_to_win(sizes, len(silent), k)
    won = math.fsum(chances[len(given)] * math.fsum(given) / len(given) for given in by_answer.values())
    none_answers = math.comb(len(silent), k) / math.comb(len(values), k)
    return won + (none_answers * math.fsum(silent) / len(silent) if silent else 0.0)


def _require_k(n: int, k: int, others: int) -> None:
    if others != n:
        raise ValueError(f"got {n} values and {others} beside them")
    if not 1 <= k <= n:
        raise ValueError(f"k lies between 1 and the {n} samples, got {k}")


@lru_cache(maxsize=4096)
def _chances_to_win(sizes: tuple[int, ...], silent: int, k: int) -> dict[int, float]:
    """Return the probability that an answer wins the vote of k samples, by how many samples have the answer.

    A random subset of k of n samples is the same as taking each sample independently with probability k/n,
    given that k samples are taken. The counts of groups are therefore binomial, and no number exceeds 1.

    Args:
        sizes: number of samples of each distinct answer, sorted.
        silent: number of samples without an answer.
    """
    n = sum(sizes) + silent
    share = k / n
    taken = {size: binom.pmf(np.arange(k + 1), size, share) for size in {*sizes, silent}}
    k_taken = float(binom.pmf(k, n, share))
    chances = dict.fromkeys(sizes, 0.0)
    for votes in range(1, min(k, max(sizes, default=0)) + 1):
        for size in chances:
            if size >= votes:
                others = list(sizes)
                others.remove(size)
                rest = _others_at_most(votes, others, taken, k) if others else _no_groups(k)
                ways = rest[:, : k - votes + 1] @ taken[silent][k - votes :: -1]
                tied = 1 / np.arange(1, len(ways) + 1)
                chances[size] += float(taken[size][votes] * (ways * tied).sum()) / k_taken
    return chances


def _others_at_most(votes: int, sizes: Sequence[int], taken: dict[int, Array], k: int) -> Array:
    """Return a table `[u, x]` for groups of these `sizes`: the probability that x of their samples are taken
    such that u groups have exactly `votes` samples and no group has more."""
    table = _no_groups(k)
    for size in sizes:
        grown = np.zeros((len(table) + 1, k + 1))
        for count in range(min(votes, size + 1)):
            grown[:-1, count:] += table[:, : k + 1 - count] * taken[size][count]
        grown[1:, votes:] += table[:, : k + 1 - votes] * taken[size][votes]
        table = grown[: k // votes + 1]
    return table


def _no_groups(k: int) -> Array:
    """Return the table of `_others_at_most` for no groups: zero samples are taken with probability 1."""
    table = np.zeros((1, k + 1))
    table[0, 0] = 1.0
    return table
