"""Intervals and tests against published or hand-worked numbers, and against their own promise of coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.core.errors import UserError
from boresight.stats.intervals import (
    agreement,
    cluster_bootstrap,
    holm,
    mcnemar,
    mean_interval,
    n_to_resolve,
    n_to_resolve_shares,
    paired_difference,
    pass_at_k,
    share_interval,
    sign_test,
    wilson,
)


@pytest.mark.parametrize(
    ("wins", "low", "high"),
    [
        (20, 0.033, 0.076),
        (39, 0.072, 0.131),
        (14, 0.021, 0.058),
        (13, 0.019, 0.055),
        (11, 0.015, 0.049),
        (10, 0.014, 0.045),
    ],
)
def test_wilson_gives_the_leaderboard_intervals(wins, low, high):
    """Six published scores k/400. The bar of 0.10 lies inside the best one's interval."""
    assert wilson(wins, 400) == pytest.approx((low, high), abs=5e-4)


def test_wilson_by_hand():
    """1 of 2, z² = 3.8415: centre 1/2, reach √(z²/8 + z⁴/16) / (1 + z²/2) = 1.18426/2.92073 = .40547."""
    assert wilson(1, 2) == pytest.approx((0.5 - 0.40547, 0.5 + 0.40547), abs=1e-5)


@given(st.integers(0, 200).flatmap(lambda n: st.tuples(st.integers(0, 2 * n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(halves_n):
    """It contains k/n, stays in [0, 1], and failures are successes upside down; ties are half counts."""
    halves, n = halves_n
    k = halves / 2
    low, high = wilson(k, n)
    assert 0 <= low <= (k / n if n else 0.5) <= high <= 1
    mirrored_low, mirrored_high = wilson(n - k, n)
    assert (1 - mirrored_high, 1 - mirrored_low) == pytest.approx((low, high), abs=1e-9)


def test_a_missing_outcome_is_counted_and_is_not_a_loss():
    found = share_interval([1, 1, 0.5, None, float("nan"), 0])
    assert (found.value, found.n, found.missing) == (0.625, 4, 2)
    with pytest.raises(UserError, match="all 2 values are missing"):
        share_interval([None, None])


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
    boot = paired_difference(before, after, bootstrap_seed=0)
    assert (boot.low, boot.high) == pytest.approx((-0.005, 0.145), abs=0.01)
    disagreement = mcnemar(before, after)
    assert (disagreement.only_a, disagreement.only_b, disagreement.same) == (21, 35, 144)
    assert disagreement.p == pytest.approx(0.081, abs=5e-4)


def test_a_few_prompts_that_agree_are_not_certainty():
    found = paired_difference([1, 1, 0, 0, 1], [1, 1, 0, 0, 1])
    assert found.value == 0 and found.low < -0.2 and found.high > 0.2


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
    rejected = np.mean([not wilson(int(k), n)[0] <= 0.5 <= wilson(int(k), n)[1] for k in wins])
    assert rejected == pytest.approx(0.8, abs=0.03)


def test_agreement_by_hand():
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed .7, chance .5·.6 + .5·.4 = .5, kappa .2/.5 = .4."""
    a = ["yes"] * 25 + ["no"] * 25 + ["yes", None]
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15 + [None, "no"]
    found = agreement(a, b)
    assert found.accuracy.value == pytest.approx(0.7)
    assert (found.accuracy.n, found.accuracy.missing) == (50, 2)
    assert found.kappa == pytest.approx(0.4)
    assert agreement(["x", "x"], ["x", "x"]).kappa is None


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


def test_the_bootstrap_keeps_a_prompts_values_together():
    """Each value repeated five times adds no information: the interval must not shrink."""
    rng = np.random.default_rng(0)
    once = [[float(v)] for v in rng.normal(size=80)]
    single, repeated = cluster_bootstrap(once), cluster_bootstrap([v * 5 for v in once])
    assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high))
    as_rows = cluster_bootstrap([v for v in once for _ in range(5)])
    assert as_rows.high - as_rows.low < 0.6 * (single.high - single.low)


def test_the_bootstrap_is_seeded_and_takes_any_statistic():
    values = {"a": [1.0, 2.0], "b": [None, 4.0], "c": [None], "d": [9.0]}
    first, again = (cluster_bootstrap(values, np.median, seed=1) for _ in range(2))
    assert first == again
    assert (first.value, first.n, first.missing) == (3.0, 3, 2)


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
        effect = rng.normal(0, 1, (80, 1))
        return limits(cluster_bootstrap((effect + rng.normal(0, 1, (80, 2))).tolist(), draws=400))

    return {
        "wilson": (lambda: wilson(int(rng.binomial(400, 0.1)), 400), 0.1),
        "mean": (lambda: limits(mean_interval(rng.gamma(4, 1, 60).tolist())), 4.0),
        "paired shares": (paired_shares, 0.06),
        "paired values": (paired_values, 1.0),
        "clustered": (clustered, 0.0),
    }


@pytest.mark.parametrize("name", ["wilson", "mean", "paired shares", "paired values", "clustered"])
def test_nominal_95_percent_intervals_cover(name):
    study, truth = _studies(np.random.default_rng(7))[name]
    assert 0.93 <= _coverage(1500, study, truth) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wilson", "mean", "paired shares", "paired values", "clustered"])
def test_nominal_95_percent_intervals_cover_over_many_studies(name):
    study, truth = _studies(np.random.default_rng(8))[name]
    assert 0.935 <= _coverage(20_000, study, truth) <= 0.965


def test_resampling_rows_instead_of_prompts_would_not_cover():
    """The mistake the cluster bootstrap avoids: values share a prompt's effect, rows are drawn one by one."""
    rng = np.random.default_rng(9)

    def rows_as_if_independent():
        values = rng.normal(0, 1, (80, 1)) + rng.normal(0, 0.5, (80, 2))
        found = cluster_bootstrap([[v] for v in values.ravel().tolist()], draws=400)
        return found.low, found.high

    assert _coverage(400, rows_as_if_independent, 0.0) < 0.9
