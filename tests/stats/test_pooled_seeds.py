"""Differences with a pooled variance of seeds, worked by hand and covered by simulation."""

import math

import numpy as np
import pytest
from scipy import stats as sps

from boresight.core.errors import UserError
from boresight.stats.intervals import SHARE
from boresight.stats.over_seeds import difference_over_seeds
from boresight.stats.pooled_seeds import SeedValues, paired_by_seed, pooled_difference, pooled_mean


def arm(*rows, trained=True):
    return SeedValues([{str(i): value for i, value in enumerate(row)} for row in rows], trained)


A, B, C = arm([0, 2], [2, 4]), arm([5, 5], [7, 11], [6, 8]), arm([1, 1], [3, 3], [2, 2])
"""Means of seeds: A 1, 3; B 5, 9, 7; C 1, 3, 2."""


def test_a_difference_by_hand():
    """s² = (2 + 8 + 2) / (1 + 2 + 2) = 2.4, u = 2.4 (1/2 + 1/3) = 2.

    Prompts: A 1, 3; B 6, 8, so the difference is 5 for both and e is 0, 0: v = 0. t(5) = 2.570582.
    """
    found = pooled_difference(A, B, [A, B, C])
    assert found.mean.value == found.center == 5 and found.mean.n == found.topics == 2
    assert found.seeds == (2, 3) and found.seed_sd == pytest.approx(math.sqrt(2.4))
    reach = 2.570582 * math.sqrt(2)
    assert (found.mean.low, found.mean.high) == pytest.approx((5 - reach, 5 + reach), rel=1e-6)
    assert found.p == pytest.approx(2 * sps.t.sf(5 / math.sqrt(2), 5))
    assert found.p_above(2) == pytest.approx(sps.t.sf(3 / math.sqrt(2), 5))
    assert found.p_below(6) == pytest.approx(sps.t.sf(1 / math.sqrt(2), 5))
    assert found.p_above(6) == pytest.approx(1 - found.p_below(6))
    assert found.p_within(6) == found.p_below(6) and found.p_within(4) > 0.5


def test_prompts_add_their_part_less_what_seeds_put_into_it():
    """One seed each of start and arm on 0, 4 and 1, 1: the arm's class has seeds 1 apart at every prompt.

    Differences 1, -3: mean -1, deviations 2, -2, v = 8 / 2 = 4 with t(1) = 12.7062; r² = 0 and u = s² = 0.5
    with t(1). The start model was not trained and has no luck.
    """
    start, trained = arm([0, 4], trained=False), arm([1, 1])
    found = pooled_difference(start, trained, [trained, arm([0, 0], [1, 1])])
    assert found.mean.value == -1 and found.seed_sd == pytest.approx(math.sqrt(0.5))
    reach = 12.7062 * math.sqrt(4 + 0.5)
    assert found.mean.high == pytest.approx(-1 + reach, rel=1e-5)
    assert [part.freedom for part in found.parts] == [1, 1]

    crossed = arm([0, 2], [2, 0])  # no seed is better, but each has its prompts: r² = (2·1 + 2·1)/1 = 4
    found = pooled_difference(start, trained, [crossed])
    assert [part.variance for part in found.parts] == pytest.approx([0, 4 - 4 / 2])


def test_a_mean_by_hand():
    """Seeds of A have means 1 and 3, pooled with B and C as above s² = 2.4: u = 2.4 / 2 with t(5).

    Prompts of A have means 1 and 3, deviations -1 and 1, v = 2 / 2 = 1 less the seeds' part of it. r² pools
    the seeds' deviations from their own mean: of A none; of B (0, 0), (-2, 2), (-1, 1), about their mean
    (-1, 1): 2 + 2 + 0 = 4; of C none. With (1 + 2 + 2)(2 - 1) = 5 degrees of freedom r² = 0.8, and
    v = 1 - 0.8 / (2 · 2) = 0.8 with t(1).
    """
    found = pooled_mean(A, [A, B, C])
    assert (found.value, found.n, found.missing) == (2, 2, 0)
    reach = math.sqrt(2.570582**2 * 1.2 + 12.7062**2 * 0.8)
    assert (found.low, found.high) == pytest.approx((2 - reach, 2 + reach), rel=1e-5)
    assert pooled_mean(A, [A, B, C], topics={"0": "x", "1": "x"}).high == math.inf


def test_a_mean_of_shares_keeps_within_its_bounds():
    """All of three prompts right: with 0 and 1 added, the mean is 4/5 and its variance 0.8 · 0.2 / 4."""
    right = SeedValues([dict.fromkeys("abc", 1.0)], trained=False)
    found = pooled_mean(right, [], bounds=SHARE)
    assert (found.value, found.high, found.n) == (1, 1, 3)
    assert found.low == pytest.approx(0.8 - sps.t.ppf(0.975, 4) * math.sqrt(0.8 * 0.2 / 4))


def test_a_model_that_was_not_trained_has_one_set_of_values():
    with pytest.raises(ValueError, match="2 seeds"):
        arm([1], [2], trained=False)
    with pytest.raises(ValueError, match="0 seeds"):
        arm()


def test_topics_are_clusters():
    """Four prompts of two topics, differences 3, 1, 0, 0: mean 1, sums of deviations 2 and -2, times 2/4.

    v = (1 + 1) / (2 · 1) = 1 with t(1). Without topics: (4 + 0 + 1 + 1) / (4 · 3) = 0.5 with t(3).
    """
    a, b = arm([0, 0, 0, 0]), arm([3, 1, 0, 0])
    pool = [arm([1, 1, 1, 1], [1, 1, 1, 1])]
    of_topics = pooled_difference(a, b, pool, topics={"0": "x", "1": "x", "2": "y", "3": "y"})
    assert of_topics.topics == 2 and of_topics.mean.n == 4
    assert [(part.variance, part.freedom) for part in of_topics.parts] == [(0, 1), (1, 1)]
    alone = pooled_difference(a, b, pool)
    assert [(part.variance, part.freedom) for part in alone.parts] == [(0, 1), (0.5, 3)]
    with pytest.raises(UserError, match="prompt '3' has no topic"):
        pooled_difference(a, b, pool, topics={"0": "x", "1": "x", "2": "y"})


def test_what_cannot_be_known_is_infinite():
    one = arm([1, 2])
    unknown = pooled_difference(one, one, [one, one])
    assert (unknown.mean.low, unknown.mean.high) == (-math.inf, math.inf) and math.isnan(unknown.seed_sd)
    assert unknown.variance == math.inf
    assert unknown.p == unknown.p_above(-9) == unknown.p_below(9) == unknown.p_within(9) == 1
    same_topic = pooled_difference(A, B, [A, B], topics={"0": "x", "1": "x"})
    assert same_topic.variance == math.inf and same_topic.mean.value == 5
    with pytest.raises(UserError, match="none of the 2 prompts has all values"):
        pooled_difference(SeedValues([{"x": 1}]), SeedValues([{"y": 1}]), [])
    bounded = pooled_difference(one, one, [one], bounds=SHARE)
    assert (bounded.mean.low, bounded.mean.high) == (-1, 1)


def test_one_number_per_run_is_a_pooled_t_test():
    """Areas 1, 3 against 5, 7, 6: s² = (2 + 2) / 3, t(3), as `scipy.stats.ttest_ind` has it."""
    a, b = arm([1], [3]), arm([5], [7], [6])
    found = pooled_difference(a, b, [a, b])
    theirs = sps.ttest_ind([5, 7, 6], [1, 3])
    assert found.p == pytest.approx(theirs.pvalue)
    interval = theirs.confidence_interval()
    assert (found.mean.low, found.mean.high) == pytest.approx((interval.low, interval.high))


def test_prompts_that_lack_a_value_are_missing_in_both_and_harmless_in_the_pool():
    a, b = SeedValues([{"x": 0, "y": None, "z": 0}] * 2), SeedValues([{"x": 1, "y": 1, "z": 1}] * 2)
    pool = [a, SeedValues([{"x": 1}, {"x": 3}]), SeedValues([{"other": 1}, {"other": 9}])]
    found = pooled_difference(a, b, pool)
    assert (found.mean.n, found.mean.missing) == (2, 1)
    assert found.seed_sd == pytest.approx(1.0)  # (0 + 2) / (1 + 1), the third arm has none of the prompts


def test_prompts_that_all_agree_are_not_certainty():
    """Three prompts, always right. With differences -1 and 1 added: v = 2 / (5 · 4) = 0.1 with t(4)."""
    right = arm([1, 1, 1], [1, 1, 1])
    found = pooled_difference(right, right, [right], bounds=SHARE)
    assert found.mean.value == 0 and found.topics == 3 and found.p == 1
    assert found.mean.high == -found.mean.low == pytest.approx(2.776445 * math.sqrt(0.1), rel=1e-5)
    certain = pooled_difference(right, right, [right])
    assert (certain.mean.low, certain.mean.high, certain.p) == (0, 0, 1)


def test_it_agrees_with_the_analysis_by_seed_where_seeds_are_not_paired():
    """Averaged over 200 studies of many seeds, both variances of the mean difference are the same."""
    rng = np.random.default_rng(3)
    ours = theirs = 0.0
    for _ in range(200):
        prompts = rng.normal(0, 1, 20)
        a, b = (prompts + rng.normal(0, 0.5, (12, 1)) + rng.normal(0, 1, (12, 20)) for _ in "ab")
        a, b = ([dict(zip(map(str, range(20)), row, strict=True)) for row in table] for table in (a, b))
        pooled = pooled_difference(SeedValues(a), SeedValues(b), [SeedValues(a), SeedValues(b)])
        ours += pooled.parts[0].variance
        by_seed = difference_over_seeds(a, b)
        theirs += by_seed.seed_sd**2 / 12
    assert ours == pytest.approx(theirs, rel=0.05)


def test_pairs_of_seeds_are_the_analysis_by_seed():
    """Without bounds it is `difference_over_seeds` itself; with one number per run, the paired t-test."""
    rng = np.random.default_rng(6)
    shared = rng.normal(0, 2, (8, 1)) + rng.normal(0, 1, (8, 20))
    a, b = arm(*shared), arm(*(shared + 0.5 + rng.normal(0, 0.3, (8, 20))))
    ours, theirs = paired_by_seed(a, b), difference_over_seeds(a.by_seed, b.by_seed)
    assert (ours.mean.low, ours.mean.high) == pytest.approx((theirs.mean.low, theirs.mean.high))
    assert ours.mean.value == pytest.approx(theirs.mean.value) and ours.p == pytest.approx(theirs.p)
    assert ours.seeds == (8, 8)
    assert ours.variance < pooled_difference(a, b, [a, b]).variance / 4
    areas = arm([0.1], [0.4], [0.2]), arm([0.2], [0.6], [0.3])
    assert paired_by_seed(*areas).p == pytest.approx(sps.ttest_rel([0.2, 0.6, 0.3], [0.1, 0.4, 0.2]).pvalue)
    with pytest.raises(UserError, match="not 1 and 2"):
        paired_by_seed(arm([1]), arm([1], [2]))


@pytest.mark.parametrize("seed_sd", [0.0, 0.4])
def test_intervals_cover_with_topics_and_unequal_seeds(seed_sd):
    """400 null studies: 3 and 4 seeds, a class of 6 arms, 15 topics of 4 prompts that differ by arm.

    An interval that takes prompts for independent covers far less.
    """
    rng = np.random.default_rng(5)
    topics = {str(i): i // 4 for i in range(60)}
    covered = naive = 0
    for _ in range(400):
        arms = []
        for count in (3, 4, 3, 3, 3, 3):
            of_arm = np.repeat(rng.normal(0, 0.5, 15), 4) + rng.normal(0, seed_sd, (count, 1))
            table = of_arm + rng.normal(0, 0.3, (count, 60))
            arms.append(arm(*table))
        found = pooled_difference(arms[0], arms[1], arms, topics).mean
        covered += found.low <= 0 <= found.high
        alone = pooled_difference(arms[0], arms[1], arms).mean
        naive += alone.low <= 0 <= alone.high
    assert covered >= 0.93 * 400
    if not seed_sd:
        assert naive < 0.8 * 400
