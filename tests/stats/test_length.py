"""Length control recovers a planted quality, and refuses where the data cannot tell."""

import math

import numpy as np
import pytest

from boresight.core.errors import UserError
from boresight.stats.length import (
    _fit_logistic,
    _sigmoid,
    length_controlled_win_rate,
    length_matched_split,
)


def _games(rng, n, theta, phi, longer_by=0):
    """Outcomes of a judge that sees quality theta and likes length with strength phi."""
    ours, theirs = rng.integers(50, 300, n) + longer_by, rng.integers(50, 300, n)
    d = ours - theirs
    chance = 1 / (1 + np.exp(-(theta + phi * np.tanh(d / d.std()))))
    return (rng.random(n) < chance).astype(float).tolist(), ours.tolist(), theirs.tolist()


def test_two_by_two_by_hand():
    """At length +1 won 3 of 4, at -1 won 2 of 4: logits ln 3 and 0, theta = ln(3)/2, share 1/(1 + 1/√3)."""
    outcomes = [1, 1, 1, 0, 1, 1, 0, 0]
    found = length_controlled_win_rate(outcomes, [11] * 4 + [9] * 4, [10] * 8)
    assert found.raw.value == 0.625
    assert found.at_equal_length.value == pytest.approx(1 / (1 + 1 / math.sqrt(3)))
    # d = ±1 has sd 1, and tanh(1) scales phi.
    assert found.length_effect.value == pytest.approx(math.log(3) / 2 / math.tanh(1))


def test_limits_by_hand():
    """The same eight prompts. The two logits have variances 1/(4 · 3/16) = 4/3 and 1/(4 · 1/4) = 1.

    theta is their mean: (4/3 + 1)/4 = 7/12, times n / (n - 2) = 8/6 makes 7/9. Outcomes of 0 and 1 in a
    saturated model give the sandwich the same value. t(6) = 2.446912, so 0.549306 ± 2.157988.
    """
    found = length_controlled_win_rate([1, 1, 1, 0, 1, 1, 0, 0], [11] * 4 + [9] * 4, [10] * 8)
    reach = 2.446912 * math.sqrt(7 / 9)
    low, high = (1 / (1 + math.exp(-(math.log(3) / 2 + side * reach))) for side in (-1, 1))
    assert (low, high) == pytest.approx((0.166774, 0.937455), abs=1e-6)
    assert (found.at_equal_length.low, found.at_equal_length.high) == pytest.approx((low, high), rel=1e-6)
    phi, wide = math.log(3) / 2 / math.tanh(1), reach / math.tanh(1)
    assert (found.length_effect.low, found.length_effect.high) == pytest.approx((phi - wide, phi + wide))


def test_length_that_buys_wins_is_taken_out():
    """Equal quality, answers 120 tokens longer, a judge that likes length: only the raw rate leaves 1/2."""
    games = _games(np.random.default_rng(0), 800, theta=0.0, phi=1.5, longer_by=120)
    found = length_controlled_win_rate(*games)
    assert found.raw.low > 0.6
    assert found.at_equal_length.low < 0.5 < found.at_equal_length.high
    assert found.length_effect.low > 1


def test_intervals_cover():
    rng = np.random.default_rng(1)
    truth = 1 / (1 + math.exp(-0.4))
    found = [
        length_controlled_win_rate(*_games(rng, 200, 0.4, 1.0, longer_by=40)).at_equal_length
        for _ in range(1200)
    ]
    assert 0.93 <= np.mean([i.low <= truth <= i.high for i in found]) <= 0.97


def test_missing_outcomes_are_counted():
    outcomes, ours, theirs = _games(np.random.default_rng(2), 100, 0.2, 0.5)
    with_gaps = length_controlled_win_rate([None, float("nan"), *outcomes], [1, 1, *ours], [9, 9, *theirs])
    without = length_controlled_win_rate(outcomes, ours, theirs)
    assert with_gaps.at_equal_length.value == pytest.approx(without.at_equal_length.value)
    assert (with_gaps.raw.n, with_gaps.raw.missing) == (100, 2)


def test_refuses_to_extrapolate():
    """Longer on 97 of 100 prompts: equal length lies at the edge of the data, whatever the fit would say."""
    ours, theirs = [20] * 97 + [5] * 3, [10] * 100
    with pytest.raises(UserError, match="the answer is longer on 97 % of 100 prompts"):
        length_controlled_win_rate([1, 0] * 50, ours, theirs)


@pytest.mark.parametrize(
    ("outcomes", "ours", "why"),
    [
        ([1, 1, 0, 0], [12, 11, 9, 8], "length alone decides"),
        ([0, 0, 1, 1], [12, 11, 9, 8], "length alone decides"),
        ([1, 1, 1, 1], [12, 11, 9, 8], "all 4 prompts were won"),
        ([0, 0, 0, 0], [12, 11, 9, 8], "all 4 prompts were lost"),
        ([0.5, 0.5, 0.5, 0.5], [12, 11, 9, 8], "all 4 prompts were tied"),
        ([0.75, 0.75, 0.75, 0.75], [12, 11, 9, 8], "all 4 prompts have the same outcome"),
        (
            [0.75, 0.75, 0.25, 0.25],
            [11, 11, 9, 9],
            "reproduces all 4 outcomes, so it has no interval",
        ),
        ([1, 0, 0.5, 0], [12, 12, 12, 12], "the same on every prompt"),
        ([None, None, None, None], [12, 11, 9, 8], "all 4 judgments are missing"),
    ],
)
def test_refuses_in_words(outcomes, ours, why):
    with pytest.raises(UserError, match=why):
        length_controlled_win_rate(outcomes, ours, [10] * 4)


def test_refuses_a_fit_that_has_not_converged():
    """One Newton step from zero moves by more than the tolerance; a few more arrive."""
    design = np.stack([np.ones(8), np.repeat([0.76, -0.76], 4)], axis=1)
    y = np.array([1, 1, 1, 0, 1, 1, 0, 0], dtype=float)
    assert _fit_logistic(design, y, np.arange(8))[0] == pytest.approx(
        [math.log(3) / 2, math.log(3) / 2 / 0.76]
    )
    with pytest.raises(UserError, match="did not converge in 1 steps over 8 prompts"):
        _fit_logistic(design, y, np.arange(8), steps=1)


def test_split_by_length():
    """Tolerance a tenth of the longer answer: 100 against 95 is similar, 100 against 80 is not."""
    split = length_matched_split([1, 0, 0.5, 1, None], [100, 80, 100, 95, 500], [80, 100, 95, 100, 10])
    assert (split.longer.value, split.longer.n) == (1.0, 1)
    assert (split.shorter.value, split.shorter.n) == (0.0, 1)
    assert (split.similar.value, split.similar.n) == (0.75, 2)
    assert length_matched_split([1], [10], [10]).longer is None


def test_a_difference_of_exactly_the_tolerance_is_similar():
    """90 against 100 differs by a tenth of 100; 89 by more."""
    assert length_matched_split([1, 0], [90, 100], [100, 90]).similar.n == 2
    assert length_matched_split([1, 0], [89, 100], [100, 89]).similar is None


def test_copies_of_the_answers_to_a_prompt_are_no_evidence():
    rng = np.random.default_rng(0)
    gap = rng.normal(0, 50, 60).round()
    won = (rng.random(60) < 1 / (1 + np.exp(-0.4 - gap / 50))).astype(float)
    ours, theirs, keys = np.maximum(gap, 0), np.maximum(-gap, 0), [f"p{i}" for i in range(60)]
    once = length_controlled_win_rate(won, ours, theirs)
    four = length_controlled_win_rate(np.tile(won, 4), np.tile(ours, 4), np.tile(theirs, 4), keys * 4)
    for name in ("raw", "at_equal_length", "length_effect"):
        a, b = getattr(once, name), getattr(four, name)
        assert (b.value, b.low, b.high, b.n) == pytest.approx((a.value, a.low, a.high, 60))
    split = length_matched_split(np.tile(won, 4), np.tile(ours, 4), np.tile(theirs, 4), prompts=keys * 4)
    assert split == length_matched_split(won, ours, theirs)


def test_an_outcome_that_varies_less_than_a_coin_by_hand():
    """At +1 two of 4 won; at -1 three won and one tied, p = 7/8. Logits 0 and ln 7, theta their mean.

    Squares of y - p sum to 1 and 3/64 + 9/64 = 3/16, p(1 - p) to 1 and 7/16: dispersion (19/16) / (23/16).
    The information gives (1 + 16/7)/4, times 19/23 is 0.678571. The sandwich, (1 + (3/16)/(7/16)²)/4, is
    0.494898 and smaller. Times 8/6: 0.904762, and t(6) = 2.446912.
    """
    outcomes = [1, 1, 0, 0, 1, 1, 1, 0.5]
    found = length_controlled_win_rate(outcomes, [11] * 4 + [9] * 4, [10] * 8)
    phi, reach = -math.log(7) / 2 / math.tanh(1), 2.446912 * math.sqrt(0.904762) / math.tanh(1)
    assert found.length_effect.value == pytest.approx(phi)
    assert (found.length_effect.low, found.length_effect.high) == pytest.approx(
        (phi - reach, phi + reach), rel=1e-5
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_equal_length_needs_one_prompt_in_twenty_on_either_side(sign):
    """Of 100 prompts 95 are longer by 9 and five equally long, or shorter; four are too few."""
    outcomes = [1, 0] * 50
    for other in (0, -9):
        lengths = [50 + sign * 9] * 95 + [50 + sign * other] * 5
        assert length_controlled_win_rate(outcomes, lengths, [50] * 100).raw.n == 100
        lengths[95] = 50 + sign * 9
        with pytest.raises(UserError, match="96 % of 100 prompts"):
            length_controlled_win_rate(outcomes, lengths, [50] * 100)
    with pytest.raises(UserError, match="97 % of 100 prompts"):  # longer by one character is longer
        length_controlled_win_rate(outcomes, [50 + sign] * 97 + [50 - 5 * sign] * 3, [50] * 100)


def test_three_prompts_can_be_controlled_and_two_cannot():
    assert length_controlled_win_rate([1, 0, 1], [9, 10, 11], [10] * 3).at_equal_length.n == 3
    with pytest.raises(UserError, match="on 2 prompts; judge more"):
        length_controlled_win_rate([1, 0, None], [9, 10, 11], [10] * 3)


def test_length_that_decides_but_for_a_draw_at_one_length_is_refused():
    """Quasi-complete separation: at equal length one is won and one lost, elsewhere length decides."""
    for outcomes in ([0, 0, 1, 1], [1, 1, 0, 0]):
        with pytest.raises(UserError, match="length alone decides"):
            length_controlled_win_rate(outcomes, [9, 10, 10, 11], [10] * 4)


def test_missing_outcomes_are_counted_at_equal_length_too():
    found = length_controlled_win_rate([1, 0, 1, None, 0], [9, 10, 11, 9, 11], [10] * 5)
    assert (found.at_equal_length.n, found.at_equal_length.missing) == (4, 1)


def test_a_share_of_impossible_odds_is_zero():
    assert _sigmoid(-1000.0) == 0.0 and _sigmoid(0.0) == 0.5
    assert math.isnan(_sigmoid(math.nan))
