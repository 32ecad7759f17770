"""Intervals over seeds and prompts, worked by hand and covered by simulation."""

import math

import numpy as np
import pytest
from scipy import stats as sps

from boresight.core.errors import UserError
from boresight.stats.intervals import DIFFERENCE, SHARE, paired_difference
from boresight.stats.over_seeds import difference_over_seeds, over_seeds


def test_two_seeds_two_prompts_by_hand():
    """Rows are seeds: [[0, 2], [2, 6]].

    Seed means 1 and 4, variance 4.5, over 2 seeds u = 2.25. Prompt means 1 and 4, the same. The residuals are
    ±1/2, their mean square 1, over 4 values .25, so v = 2.25 - .25 = 2. Both with t(1) = 12.7062.
    """
    found = over_seeds([{"a": 0, "b": 2}, {"a": 2, "b": 6}])
    assert found.mean.value == 2.5 and found.mean.n == 2 and found.seeds == 2
    reach = 12.7062 * math.sqrt(4.25)
    assert (found.mean.low, found.mean.high) == pytest.approx((2.5 - reach, 2.5 + reach), rel=1e-5)
    assert found.seed_sd == pytest.approx(math.sqrt(4.5)) and found.seed_share == pytest.approx(2.25 / 4.25)
    assert found.p == pytest.approx(2 * sps.t.sf(2.5 / math.sqrt(4.25), 1))


def test_each_part_has_its_own_quantile():
    """Three seeds of five prompts: u with t(2) = 4.302653, v with t(4) = 2.776445.

    Every seed adds 0, 3 or 6 to the prompts 0, 1, 2, 3, 4, so nothing is left over: u = 9/3, v = 2.5/5.
    """
    found = over_seeds([{str(i): i + seed for i in range(5)} for seed in (0.0, 3.0, 6.0)])
    reach = math.sqrt(4.302653**2 * 3 + 2.776445**2 * 0.5)
    assert (found.mean.low, found.mean.high) == pytest.approx((5 - reach, 5 + reach), rel=1e-6)
    assert found.seed_share == pytest.approx(3 / 3.5)


def test_the_p_value_is_below_5_percent_where_the_interval_excludes_zero():
    table = np.random.default_rng(4).normal(0, 1, (3, 20))
    for shift in np.linspace(-2, 2, 41):
        found = over_seeds([dict(enumerate(row + shift)) for row in table])
        assert found.mean.excludes_zero == (found.p < 0.05)
    certain = over_seeds([{str(i): 1000.0 + i / 10 for i in range(50)} for _ in range(2)])
    assert certain.p == 1e-12


def test_one_seed_is_an_interval_over_prompts():
    """Student's t of 1, 2, 3: mean 2, standard error 1/√3, 2 degrees of freedom."""
    found = over_seeds([{"a": 1, "b": 2, "c": 3}])
    assert found.mean.high == pytest.approx(2 + 4.30265 / math.sqrt(3), rel=1e-5)
    assert math.isnan(found.seed_sd) and found.seed_share == 0


def test_a_prompt_that_lacks_a_seed_is_missing_in_both():
    found = difference_over_seeds(
        [{"a": 0, "b": 0, "c": 1}, {"a": 0, "b": 0, "c": 0}], [{"a": 1, "b": 2}] * 2
    )
    assert found.mean.n == 2 and found.mean.missing == 1 and found.mean.value == 1.5
    with pytest.raises(UserError, match="none of the 2 prompts"):
        difference_over_seeds([{"a": 1}], [{"b": 1}])
    with pytest.raises(UserError, match="the same seeds of both"):
        difference_over_seeds([{"a": 1}], [])


def test_identical_systems_do_not_differ():
    same = [{"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 2.0}]
    found = difference_over_seeds(same, same)
    assert (found.mean.low, found.mean.high, found.p) == (0, 0, 1)


@pytest.mark.parametrize("seed_sd", [0.0, 0.3])
def test_intervals_cover_when_seeds_matter_and_when_not(seed_sd):
    """400 null experiments of 3 seeds and 50 prompts. Intervals over prompts alone, pooled, would cover far
    less where seeds matter: that is what the variance of seeds is there for."""
    rng = np.random.default_rng(1)
    covered = pooled = 0
    for _ in range(400):
        prompts = rng.normal(0, 1, 50)
        table = prompts + rng.normal(0, seed_sd, (3, 1)) + rng.normal(0, 0.5, (3, 50))
        mean = over_seeds([dict(zip(map(str, range(50)), row, strict=True)) for row in table]).mean
        covered += mean.low <= 0 <= mean.high
        alone = over_seeds([dict(zip(map(str, range(50)), table.mean(axis=0), strict=True))]).mean
        pooled += alone.low <= 0 <= alone.high
    assert covered >= 0.93 * 400
    if seed_sd:
        assert pooled < 0.9 * 400


def test_prompts_that_all_agree_are_not_certainty():
    """Two seeds, three prompts, always right. With one prompt at 0 and one at 1 added, prompts' means are
    1, 1, 1, 0, 1: variance 0.2, over 5 prompts 0.04; seeds do not differ. Mean 0.8, t(4) = 2.7764, so the
    lower limit is 0.8 - 2.7764 * 0.2 = 0.2447, and the upper one is cut at 1.
    """
    right = [{"a": 1, "b": 1, "c": 1}] * 2
    found = over_seeds(right, bounds=SHARE)
    assert found.mean.value == 1 and found.mean.n == 3 and found.seed_sd == 0
    assert (found.mean.low, found.mean.high) == pytest.approx((0.2447, 1.0), abs=1e-4)
    wrong = [{"a": 0, "b": 0, "c": 0}] * 2
    mirrored = over_seeds(wrong, bounds=SHARE)
    assert (mirrored.mean.low, mirrored.mean.high) == pytest.approx((0.0, 1 - 0.2447), abs=1e-4)
    assert mirrored.mean.low == 0.0
    same = difference_over_seeds(right, right, bounds=DIFFERENCE)
    assert same.mean.value == 0 and same.mean.low == -same.mean.high < 0 and same.p == 1


def test_one_seed_of_shares_is_bonett_and_price_with_t_for_z():
    """As evaluate.stats has it for one pair of systems: three prompts up, none down, of ten."""
    a, b = {str(i): 0.0 for i in range(10)}, {str(i): float(i < 3) for i in range(10)}
    ours, theirs = difference_over_seeds([a], [b], bounds=DIFFERENCE).mean, paired_difference(a, b)
    center = (ours.low + ours.high) / 2
    assert center == pytest.approx((theirs.low + theirs.high) / 2)
    widened = sps.t.ppf(0.975, 11) / 1.959964 * math.sqrt(12 / 11)
    assert ours.high - center == pytest.approx((theirs.high - center) * widened, rel=1e-6)


def test_one_prompt_leaves_the_seeds_alone():
    """Seeds 1 and 3: mean 2, variance 2 over 2 seeds is 1, t(1) = 12.7062. Prompts add nothing to it."""
    found = over_seeds([{"a": 1}, {"a": 3}])
    assert (found.mean.low, found.mean.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), rel=1e-5)
    assert found.seed_share == 1.0


def test_one_value_says_nothing_of_its_mean():
    found = over_seeds([{"a": 2.0}])
    assert (found.mean.value, found.mean.low, found.mean.high) == (2.0, -math.inf, math.inf)
    assert (found.seed_share, found.p, found.seeds) == (0.0, 1.0, 1)


def test_values_that_never_vary_have_no_spread_to_share():
    found = over_seeds([{"a": 1.0, "b": 1.0}] * 2)
    assert (found.mean.low, found.mean.high, found.seed_sd, found.seed_share, found.p) == (1, 1, 0, 0, 0)


def test_the_p_value_of_a_mean_of_one():
    """0, 1 and 2 of one seed: t(2) = 1 / (1/√3) = 1.732, p = 0.2254."""
    assert over_seeds([{"a": 0, "b": 1, "c": 2}]).p == pytest.approx(0.22540, abs=1e-5)
