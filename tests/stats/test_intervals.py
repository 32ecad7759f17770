"""Intervals and tests against published or hand-worked numbers, and against their own promise of coverage."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.core.errors import UserError
from boresight.stats.agreement import agreement
from boresight.stats.intervals import (
    DIFFERENCE,
    SHARE,
    Z95,
    Interval,
    bounds_of,
    clopper_pearson,
    clustered_share,
    holm,
    mcnemar,
    mean_interval,
    n_to_resolve,
    n_to_resolve_shares,
    paired_difference,
    pass_at_k,
    share_interval,
    sign_test,
    unpaired_difference,
)


@pytest.mark.parametrize(
    ("wins", "low", "high"),
    [
        (20, 0.031, 0.076),
        (39, 0.070, 0.131),
        (14, 0.019, 0.058),
        (13, 0.017, 0.055),
        (11, 0.014, 0.049),
        (10, 0.012, 0.045),
    ],
)
def test_intervals_of_the_leaderboard(wins, low, high):
    """Six published scores k/400. The bar of 0.10 lies inside the best one's interval."""
    assert clopper_pearson(wins, 400) == pytest.approx((low, high), abs=5e-4)


def test_clopper_pearson_has_closed_forms_at_the_ends():
    """0 of n: high = 1 - .025^(1/n). n of n mirrors it."""
    low, high = clopper_pearson(0, 10)
    assert low == 0 and high == pytest.approx(1 - 0.025**0.1)
    assert clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1.0))


def test_clopper_pearson_of_one_in_two():
    """P(k ≥ 1) = 1 - (1-p)² = .025 at p = 1 - √.975, and P(k ≤ 1) = 1 - p² = .025 at p = √.975."""
    assert clopper_pearson(1, 2) == pytest.approx((1 - math.sqrt(0.975), math.sqrt(0.975)))


@given(st.integers(0, 200).flatmap(lambda n: st.tuples(st.integers(0, 2 * n), st.just(n))))
def test_limits_of_a_share_contain_it_and_mirror(halves_n):
    """They contain k/n, stay in [0, 1], and failures are successes upside down; ties are half counts."""
    halves, n = halves_n
    k = halves / 2
    low, high = clopper_pearson(k, n)
    assert 0 <= low <= (k / n if n else 0.5) <= high <= 1
    mirrored_low, mirrored_high = clopper_pearson(n - k, n)
    assert (1 - mirrored_high, 1 - mirrored_low) == pytest.approx((low, high), abs=1e-9)


def test_a_missing_outcome_is_counted_and_is_not_a_loss():
    found = share_interval([1, 1, 0.5, None, float("nan"), 0])
    assert (found.value, found.n, found.missing) == (0.625, 4, 2)
    with pytest.raises(UserError, match="all 2 values are missing"):
        share_interval([None, None])


def test_none_of_200_solved_is_not_certainty():
    """The exact upper limit is 1 - .025^(1/200) = 1.83 %."""
    found = share_interval([0.0] * 200)
    assert (found.value, found.low, found.high) == (0, 0, pytest.approx(0.01828, abs=1e-5))


def test_outcomes_with_ties_by_hand():
    """0, 1/2, 1, 1 with 0 and 1 added: mean 3.5/6, s² = (3.25 - 3.5²/6)/5 = .241667, t(5) = 2.570582.

    .583333 ± 2.570582 √(.241667/6) = .583333 ± .515893, cut at 1.
    """
    found = share_interval([0, 0.5, 1, 1, None])
    assert (found.value, found.low, found.high) == (0.625, pytest.approx(0.06744, abs=1e-5), 1.0)
    assert found == mean_interval([0, 0.5, 1, 1, None], bounds=SHARE)


def test_ten_answers_to_one_prompt_are_one_unit():
    """Each outcome repeated ten times adds no information. Missing outcomes are counted, n is prompts."""
    once = [[1.0], [0.0], [0.0], [1.0], [0.0]]
    assert clustered_share([outcomes * 10 for outcomes in once]) == clustered_share(once)


def test_a_prompt_with_more_answers_weighs_more():
    """3 of 4 right. Sizes 2, 1, 1 are weights 1.5, .75, .75: units 1.125, .9375, .1875 around the mean .75.

    With 0 and 1 added: sum 3.25, squares 3.17969, s² = (3.17969 - 3.25²/5)/4 = .266797, t(4) = 2.776445.
    """
    found = clustered_share([[1, 1, None], [1], [0], [None, None]])
    assert (found.value, found.n, found.missing) == (0.75, 3, 3)
    assert (found.low, found.high) == (
        pytest.approx(0.65 - 2.776445 * math.sqrt(0.266797 / 5), abs=1e-5),
        1.0,
    )
    with pytest.raises(UserError, match="all 2 values are missing"):
        clustered_share([[None], [None]])


def test_grades_are_bounded_and_scores_are_not():
    assert bounds_of("share", [0.3]) == SHARE
    assert bounds_of("reward", [0, 0.1, 1, None, math.nan]) == SHARE
    assert bounds_of("reward", [0, 1.5]) is None
    assert bounds_of("reward", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) is None
    assert bounds_of("nats", [0, 1]) is None


def test_mean_interval_by_hand():
    """1, 2, 3: mean 2, s = 1, t(2) = 4.3027, so 2 ± 4.3027/√3."""
    found = mean_interval([1, 2, None, 3])
    assert (found.low, found.high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)
    assert (found.n, found.missing) == (3, 1)


def test_one_value_has_no_interval():
    found = mean_interval([3.0])
    assert (found.value, found.low, found.high) == (3.0, -math.inf, math.inf)


def test_paired_shares_against_the_worked_example():
    """200 prompts, 35 won only after and 21 only before: +.07.

    Bonett-Price: p = 36/202, q = 22/202, (p - q) ± 1.96 √((p + q - (p - q)²)/202) = .06931 ± .07327.
    """
    before = [1] * 21 + [0] * 35 + [1] * 53 + [0] * 91
    after = [0] * 21 + [1] * 35 + [1] * 53 + [0] * 91
    found = paired_difference(before, after)
    assert found.value == pytest.approx(0.07)
    assert (found.low, found.high) == pytest.approx((0.06931 - 0.07327, 0.06931 + 0.07327), abs=2e-5)
    disagreement = mcnemar(before, after)
    assert (disagreement.only_a, disagreement.only_b, disagreement.same) == (21, 35, 144)
    assert disagreement.p == pytest.approx(0.081, abs=5e-4)


def test_a_few_prompts_that_agree_are_not_certainty():
    found = paired_difference([1, 1, 0, 0, 1], [1, 1, 0, 0, 1])
    assert found.value == 0 and found.low < -0.2 and found.high > 0.2


def test_paired_outcomes_with_ties_by_hand():
    """Differences 0, 1/2, 0, 1 with -1 and 1 added: mean 1.5/6, s² = (3.25 - 1.5²/6)/5 = .575, t(5) = 2.5706.

    .25 ± 2.570582 √(.575/6) = .25 ± .795771, cut at 1. Grades such as 0.1 need the bounds to be named.
    """
    found = paired_difference([0, 0.5, 1, 0], [0, 1, 1, 1])
    assert (found.value, found.low, found.high) == (0.375, pytest.approx(-0.54577, abs=1e-5), 1.0)
    grades = [0.1, 0.1, 0.0], [0.1, 0.1, 0.0]
    assert paired_difference(*grades).high == 0
    assert paired_difference(*grades, bounds=SHARE).high > 0.3


def test_mappings_are_paired_by_prompt_whatever_their_order():
    """p3 lacks a, p4 lacks b: both missing. Differences on p1 and p2 are 2 and 4: 3 ± 12.706 · √2/√2."""
    found = paired_difference({"p1": 1.5, "p2": 2, "p4": 0}, {"p2": 6, "p1": 3.5, "p3": 9})
    assert (found.value, found.n, found.missing) == (3.0, 2, 2)
    assert (found.low, found.high) == pytest.approx((3 - 12.706, 3 + 12.706), abs=1e-3)
    with pytest.raises(UserError, match="none of the 2 prompts"):
        paired_difference({"p1": 1.0}, {"p2": 1.0})


def test_sign_test():
    """116 of 189 untied prompts won: p = .0022. Three of three heads: 2 · 1/8."""
    assert sign_test(116, 73) == pytest.approx(0.0022, abs=5e-5)
    assert sign_test(3, 0) == pytest.approx(0.25)
    assert sign_test(0, 0) == 1


def test_holm_by_hand():
    """Sorted .01 .03 .04 times 3, 2, 1 = .03 .06 .04; running maximum .03 .06 .06."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_prompts_needed():
    """7.849 (1/4) / d²: 785 for five points, 4,906 for two. Unpaired leaderboard scores: 8,400 and 474."""
    assert n_to_resolve(0.05) == 785
    assert n_to_resolve(-0.02) == 4906
    assert n_to_resolve_shares(0.0275, 0.035) == pytest.approx(8400, rel=0.01)
    assert n_to_resolve_shares(0.05, 0.0975) == pytest.approx(474, abs=1)
    with pytest.raises(ValueError, match="zero"):
        n_to_resolve(0.0)


def test_power_is_what_was_asked_for():
    """Of 4,000 simulated studies with the advised n at a true 55 %, 80 % reject one half."""
    n = n_to_resolve(0.05)
    wins = np.random.default_rng(3).binomial(n, 0.55, size=4000)
    limits = [clopper_pearson(int(k), n) for k in wins]
    rejected = np.mean([not low <= 0.5 <= high for low, high in limits])
    assert rejected == pytest.approx(0.8, abs=0.03)


def test_agreement_by_hand():
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed .7, chance .5·.6 + .5·.4 = .5, kappa .2/.5 = .4."""
    a = ["yes"] * 25 + ["no"] * 25 + ["yes", None]
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15 + [None, "no"]
    found = agreement(a, b, list(map(str, range(52))))
    assert found.accuracy.value == pytest.approx(0.7)
    assert (found.accuracy.n, found.accuracy.missing) == (50, 2)
    assert found.kappa == pytest.approx(0.4)
    assert agreement(["x", "x"], ["x", "x"], ["p", "q"]).kappa is None


def test_pass_at_k():
    """1 right of 4, 2 drawn: 1 - C(3,2)/C(4,2) = 1/2. With k = 1 it is the share that is right."""
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)
    assert pass_at_k(16, 4, 1) == pytest.approx(0.25)
    assert pass_at_k(5, 3, 3) == 1.0
    with pytest.raises(ValueError, match="1 <= k <= n"):
        pass_at_k(4, 1, 5)


def test_pass_at_k_is_unbiased():
    """The mean over every possible count c of Binomial(6, .3) equals 1 - .7^3."""
    expected = sum(math.comb(6, c) * 0.3**c * 0.7 ** (6 - c) * pass_at_k(6, c, 3) for c in range(7))
    assert expected == pytest.approx(1 - 0.7**3)


def test_an_interval_as_a_value():
    found = Interval(1.0, -2.0, 3.0, 7)
    assert (found.missing, found.excludes_zero) == (0, False)
    assert Interval(1.0, 0.5, 3.0, 7).excludes_zero and Interval(-1.0, -3.0, -0.5, 7).excludes_zero
    assert not Interval(1.0, 0.0, 2.0, 7).excludes_zero and not Interval(-1.0, -2.0, 0.0, 7).excludes_zero
    assert found.scaled(-2) == Interval(-2.0, -6.0, 4.0, 7) and found.scaled(2) == Interval(2.0, -4.0, 6.0, 7)
    assert Interval(1.0, 0.0, 2.0, 7, 3).transformed(lambda x: x + 1) == Interval(2.0, 1.0, 3.0, 7, 3)


def test_constants():
    assert NormalDist().inv_cdf(0.975) == pytest.approx(Z95, abs=1e-6)
    assert (SHARE, DIFFERENCE) == ((0.0, 1.0), (-1.0, 1.0))


def test_shares_of_nothing_and_of_one():
    """One of one: P(1) = p is .025 at p = .025."""
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert clopper_pearson(1, 1) == pytest.approx((0.025, 1.0)) and clopper_pearson(0, 1) == pytest.approx(
        (0.0, 0.975)
    )


@pytest.mark.parametrize("outcome", [-0.1, 1.1])
def test_outcomes_outside_a_share_are_refused(outcome):
    with pytest.raises(ValueError, match="between 0 and 1"):
        share_interval([0.5, outcome])


def test_five_grades_are_still_grades():
    assert bounds_of("reward", [0, 0.25, 0.5, 0.75, 1]) == SHARE


def test_totals_alone_by_hand():
    """3 of 8 against 7 of 10. With one success and one failure added: 4/10 and 8/12, .266667 apart.

    1.959964 √(.4 · .6 / 10 + 2/3 · 1/3 / 12) = .404145. Pooled, 10/18 · 8/18 · (1/8 + 1/10) = 1/18.
    """
    found = unpaired_difference(3, 8, 7, 10)
    assert (found.difference.value, found.difference.n) == (pytest.approx(0.325), 8)
    assert (found.difference.low, found.difference.high) == pytest.approx((-0.137478, 0.670811), abs=1e-5)
    assert found.z == pytest.approx(0.325 / math.sqrt(1 / 18)) and found.p == pytest.approx(0.16794, abs=1e-4)
    other = unpaired_difference(7, 10, 3, 8)
    assert (other.z, other.difference.low) == (pytest.approx(-found.z), pytest.approx(-found.difference.high))


def test_totals_at_the_ends():
    """None of one against one of one: 1/3 ± .754, cut at 1; nothing to tell apart where nobody ever won."""
    assert unpaired_difference(0, 1, 1, 1).difference.high == 1.0
    assert unpaired_difference(1, 1, 0, 1).difference.low == -1.0
    nobody = unpaired_difference(0, 5, 0, 9)
    assert (nobody.z, nobody.p, nobody.difference.n) == (0.0, 1.0, 5)


def test_differences_are_cut_at_what_is_possible():
    """Two of two better: 2/4 ± 1.96 √((1 - 1/4)/4) = .5 ± .849. Of values from 1 to 3 they end at ±2."""
    up = paired_difference([0, 0], [1, 1])
    assert (up.low, up.high) == (pytest.approx(0.5 - 0.84869, abs=1e-5), 1.0)
    assert paired_difference([1, 1], [0, 0]).low == -1.0
    graded = paired_difference([1.0, 2.0], [2.0, 3.0], bounds=(1.0, 3.0))
    assert (graded.low, graded.high) == (-2.0, 2.0)


def test_adjusted_p_values_end_at_one():
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_what_cannot_be_paired_is_refused():
    for a, b in (({"p": 1.0}, [1.0]), ([1.0], {"p": 1.0})):
        with pytest.raises(ValueError, match="both systems as mappings"):
            paired_difference(a, b)
    with pytest.raises(ValueError, match="got 1 and 2 values"):
        paired_difference([1.0], [1.0, 2.0])
    for a, b in (([0, 1], [0.5, 1]), ([0.5, 1], [0, 1])):
        with pytest.raises(ValueError, match="outcomes that are 0 or 1"):
            mcnemar(a, b)


# Coverage: nominal 95 % intervals hold the truth in 93-97 % of simulated studies ---------------------------


def _coverage(repeats, draw_interval, truth):
    hits = 0
    for _ in range(repeats):
        low, high = draw_interval()
        hits += low <= truth <= high
    return hits / repeats


def _studies(rng):
    """Name -> (function that runs one study and returns its limits, true value)."""

    def limits(interval):
        return interval.low, interval.high

    def paired_shares():
        a = rng.random(120) < 0.4
        b = np.where(rng.random(120) < 0.7, a, rng.random(120) < 0.6)  # truth: .3 (.6 - .4) = .06
        return limits(paired_difference(a.tolist(), b.tolist()))

    def paired_values():
        prompt = rng.normal(0, 3, 60)
        return limits(paired_difference(prompt + rng.normal(0, 1, 60), prompt + rng.exponential(1, 60)))

    def clustered():
        problem = rng.beta(2, 3, (80, 1))
        return limits(clustered_share((rng.random((80, 4)) < problem).tolist()))

    return {
        "share": (lambda: clopper_pearson(int(rng.binomial(400, 0.1)), 400), 0.1),
        "mean": (lambda: limits(mean_interval(rng.gamma(4, 1, 60).tolist())), 4.0),
        "paired shares": (paired_shares, 0.06),
        "paired values": (paired_values, 1.0),
        "clustered": (clustered, 0.4),
    }


@pytest.mark.parametrize("name", ["share", "mean", "paired shares", "paired values", "clustered"])
def test_nominal_95_percent_intervals_cover(name):
    study, truth = _studies(np.random.default_rng(7))[name]
    assert 0.93 <= _coverage(1500, study, truth) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("name", ["share", "mean", "paired shares", "paired values", "clustered"])
def test_nominal_95_percent_intervals_cover_over_many_studies(name):
    study, truth = _studies(np.random.default_rng(8))[name]
    assert 0.935 <= _coverage(20_000, study, truth) <= 0.965


def test_rows_instead_of_prompts_would_not_cover():
    """The mistake `clustered_share` avoids: outcomes share a prompt's chance, rows are taken for prompts."""
    rng = np.random.default_rng(9)

    def rows_as_if_independent():
        outcomes = rng.random((80, 4)) < rng.beta(0.5, 0.5, (80, 1))
        found = clustered_share(outcomes.reshape(-1, 1).tolist())
        return found.low, found.high

    assert _coverage(400, rows_as_if_independent, 0.5) < 0.9
