"""Best of k and majority of k against values worked by hand and against every subset, one by one."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.stats.intervals import pass_at_k
from boresight.stats.subsets import best_of_k, majority_at_k


def every_subset(n, k, value):
    return fmean(value(subset) for subset in combinations(range(n), k))


def best_of_subset(values, ranks):
    def value(subset):
        highest = max(ranks[i] for i in subset)
        return fmean(values[i] for i in subset if ranks[i] == highest)

    return value


def majority_of_subset(values, answers):
    of_answer = {a: fmean(v for v, b in zip(values, answers, strict=True) if a == b) for a in set(answers)}

    def value(subset):
        votes = Counter(answers[i] for i in subset if answers[i] is not None)
        if not votes:
            return of_answer[None]
        most = max(votes.values())
        return fmean(of_answer[a] for a, count in votes.items() if count == most)

    return value


def test_best_of_k_by_hand():
    """Ranks 3, 2, 1 with values 0, 1, 0: two of three hold rank 3 in 2 of 3 subsets, else the value is 1."""
    assert best_of_k([0, 1, 0], [3, 2, 1], 2) == pytest.approx(1 / 3)
    assert best_of_k([0, 1, 0], [3, 2, 1], 1) == pytest.approx(1 / 3), "the mean"
    assert best_of_k([0, 1, 0], [3, 2, 1], 3) == 0.0, "the first of all"
    assert best_of_k([0, 1, 0], [2, 2, 1], 3) == 0.5, "a tie is averaged"
    assert best_of_k([0.5, -2.0], [1.0, 1.0], 2) == pytest.approx(-0.75), "rewards of any size"


def test_majority_at_k_by_hand():
    """Answers a, a, b, b, c with a right. Of the ten subsets of 3: aab ×2 and aac elect a, abb ×2 and bbc
    elect b, the four abc tie. So 3/10 + 4/10 · 1/3."""
    values, answers = [1, 1, 0, 0, 0], list("aabbc")
    assert majority_at_k(values, answers, 3) == pytest.approx(3 / 10 + 4 / 30)
    assert majority_at_k(values, answers, 1) == pytest.approx(2 / 5), "the mean"
    assert majority_at_k(values, answers, 5) == pytest.approx(1 / 2), "a and b tie"


def test_who_gives_no_answer_does_not_vote():
    """Of four samples one is right and three give no answer: it wins wherever it is drawn."""
    assert majority_at_k([1, 0, 0, 0], ["a", None, None, None], 2) == pytest.approx(1 / 2)
    assert majority_at_k([0, 0], [None, None], 2) == 0.0
    assert majority_at_k([0.25, 0.75], [None, None], 1) == pytest.approx(0.5)


@st.composite
def problems(draw):
    n = draw(st.integers(1, 8))
    one_of = [[0.0, 1.0], [0.0, 0.1, 1.0], [-3.0, 0.5, 7.0]]
    values = draw(st.lists(st.sampled_from(draw(st.sampled_from(one_of))), min_size=n, max_size=n))
    ranks = draw(st.lists(st.sampled_from([-1.0, 0.5, 2.0, 9.0]), min_size=n, max_size=n))
    answers = draw(st.lists(st.sampled_from([None, *"abcd"]), min_size=n, max_size=n))
    return values, ranks, answers, draw(st.integers(1, n))


@given(problems())
def test_both_are_the_mean_over_every_subset(problem):
    values, ranks, answers, k = problem
    n = len(values)
    assert best_of_k(values, ranks, k) == pytest.approx(every_subset(n, k, best_of_subset(values, ranks)))
    assert majority_at_k(values, answers, k) == pytest.approx(
        every_subset(n, k, majority_of_subset(values, answers))
    )


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_the_best_by_the_truth_is_pass_at_k(right, data):
    k = data.draw(st.integers(1, len(right)))
    assert best_of_k(right, right, k) == pytest.approx(pass_at_k(len(right), sum(right), k))


@given(problems(), st.randoms())
def test_the_order_of_the_samples_does_not_matter(problem, random):
    values, ranks, answers, k = problem
    order = list(range(len(values)))
    random.shuffle(order)
    moved = [[part[i] for i in order] for part in (values, ranks, answers)]
    assert best_of_k(moved[0], moved[1], k) == pytest.approx(best_of_k(values, ranks, k))
    assert majority_at_k(moved[0], moved[2], k) == pytest.approx(majority_at_k(values, answers, k))


def test_a_thousand_samples_agree_with_drawn_subsets():
    """No number overflows, and 20,000 subsets that are drawn come within four standard errors."""
    rng = np.random.default_rng(3)
    answers = ["right" if i < 380 else f"wrong {i % 2}" for i in range(1100)]
    values = [float(answer == "right") for answer in answers]
    found = majority_at_k(values, answers, 51)
    value = majority_of_subset(values, answers)
    drawn = [value(rng.choice(1100, 51, replace=False)) for _ in range(2_000)]
    assert found == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / math.sqrt(len(drawn)))
    assert 0.4 < found < 0.7


def test_k_beyond_the_samples_is_refused():
    for k in (0, 3):
        with pytest.raises(ValueError, match="between 1 and the 2 samples"):
            best_of_k([0, 1], [0, 1], k)
        with pytest.raises(ValueError, match="between 1 and the 2 samples"):
            majority_at_k([0, 1], ["a", "b"], k)
    with pytest.raises(ValueError, match="2 values and 1 beside"):
        best_of_k([0, 1], [0], 1)
