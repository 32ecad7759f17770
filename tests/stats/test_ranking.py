"""Bradley-Terry with ties: closed forms for two systems, recovery and coverage for several."""

import math

import numpy as np
import pytest

from boresight.core.errors import UserError
from boresight.stats.ranking import Game, bradley_terry


def _games(a, b, wins, ties, losses):
    outcomes = [1.0] * wins + [0.5] * ties + [0.0] * losses
    return [Game(f"p{i}", a, b, outcome) for i, outcome in enumerate(outcomes)]


def test_two_systems_by_hand():
    """6 won, 3 tied, 2 lost. The fit reproduces the shares: e^gap = 6/2, and nu = 3/√(6·2)."""
    ranking = bradley_terry(_games("A", "B", 6, 3, 2))
    gap = ranking.strength["A"].value - ranking.strength["B"].value
    nu = 3 / math.sqrt(12)
    assert gap == pytest.approx(math.log(3))
    assert ranking.tie_rate == pytest.approx(nu / (2 + nu))
    assert ranking.win_rate("A", "B") == pytest.approx((6 + 1.5) / 11)
    assert ranking.win_rate("B", "A") == pytest.approx((2 + 1.5) / 11)


def test_without_ties_it_is_bradley_terry():
    """A beat B 3:1 and B beat C 3:1, nothing else played: log 3 between neighbours."""
    ranking = bradley_terry(_games("A", "B", 3, 0, 1) + _games("B", "C", 3, 0, 1))
    assert list(ranking.strength) == ["A", "B", "C"]
    assert [i.value for i in ranking.strength.values()] == pytest.approx([math.log(3), 0, -math.log(3)])
    assert ranking.tie_rate == 0


def test_which_side_a_system_stood_on_does_not_matter():
    games = _games("A", "B", 5, 2, 3) + _games("B", "C", 4, 1, 4)
    turned = [Game(g.prompt, g.b, g.a, 1 - g.outcome) for g in games]
    for name, interval in bradley_terry(games).strength.items():
        other = bradley_terry(turned).strength[name]
        assert (other.value, other.low) == pytest.approx((interval.value, interval.low))


def test_failed_judgments_are_counted_and_left_out():
    games = _games("A", "B", 6, 3, 2)
    ranking = bradley_terry([*games, Game("x", "A", "B", None)])
    assert ranking.missing == 1
    assert ranking.strength == bradley_terry(games).strength


def test_repeating_every_game_of_a_prompt_adds_no_certainty():
    games = _games("A", "B", 12, 6, 8)
    once, twice = bradley_terry(games), bradley_terry(games * 2)
    assert twice.strength["A"].low == pytest.approx(once.strength["A"].low)


def test_refuses_a_system_that_never_lost():
    with pytest.raises(UserError, match="D won all or lost all"):
        bradley_terry(_games("A", "B", 2, 0, 2) + _games("D", "A", 3, 0, 0))


def test_refuses_games_that_are_all_ties():
    """The rate of ties has no finite estimate."""
    with pytest.raises(UserError, match="Every game is a tie, so there is no ranking"):
        bradley_terry([*_games("A", "B", 0, 4, 0), *_games("B", "C", 0, 4, 0), Game("x", "A", "C", None)])


def test_intervals_cover_with_correlated_games():
    """Three systems, 80 prompts; on each prompt a shared effect pushes all of A's games the same way."""
    rng = np.random.default_rng(0)
    names = ["A", "B", "C"]
    hits = 0
    for _ in range(600):
        games = []
        for prompt in range(80):
            push = rng.normal(0, 1.0)
            games += [Game(str(prompt), "A", other, float(rng.random() < _share(push))) for other in "BC"]
            games += [Game(str(prompt), "B", "C", float(rng.random() < 0.5))]
        found = bradley_terry(games).strength
        hits += found["A"].low <= 0 <= found["A"].high
        assert set(found) == set(names)
    assert 0.93 <= hits / 600 <= 0.97


def _share(x):
    return 1 / (1 + math.exp(-x))


def test_limits_of_two_systems_by_hand():
    """A won 6 of 8: gap ln 3 with variance 1 / ((8 - 1) · 3/4 · 1/4) = 16/21, of which A has half the gap.

    The standard error of ln(3)/2 is √(16/21)/2 = 0.436436, and t(7) = 2.364624.
    """
    a = bradley_terry(_games("A", "B", 6, 0, 2)).strength["A"]
    reach = 2.364624 * 0.436436
    assert (a.value, a.n) == (pytest.approx(math.log(3) / 2), 8)
    assert (a.low, a.high) == pytest.approx((math.log(3) / 2 - reach, math.log(3) / 2 + reach), rel=1e-5)


def test_limits_of_two_prompts_and_of_one():
    """One won, one lost: variance 1 / (1 · 1/4) of the gap, 1 of its half, and t(1) = 12.7062."""
    a = bradley_terry(_games("A", "B", 1, 0, 1)).strength["A"]
    assert (a.low, a.high) == pytest.approx((-12.7062, 12.7062), rel=1e-5)
    alone = bradley_terry([Game("p", "A", "B", 1.0), Game("p", "A", "B", 0.0)]).strength["A"]
    assert (alone.low, alone.high, alone.n) == (-math.inf, math.inf, 1)


def test_three_systems_with_ties_by_hand():
    """A against B and B against C, each 6 won, 3 tied, 2 lost: gaps of ln 3, and nu = 3/√12 for both."""
    ranking = bradley_terry(_games("A", "B", 6, 3, 2) + _games("B", "C", 6, 3, 2))
    assert [i.value for i in ranking.strength.values()] == pytest.approx(
        [math.log(3), 0, -math.log(3)], abs=1e-8
    )
    assert ranking.tie_rate == pytest.approx(3 / math.sqrt(12) / (2 + 3 / math.sqrt(12)))


def test_refuses_a_system_that_lost_all_on_either_side():
    for games in (_games("D", "A", 0, 0, 3), _games("A", "D", 3, 0, 0)):
        with pytest.raises(UserError, match="D won all or lost all"):
            bradley_terry(_games("A", "B", 2, 0, 2) + games)


def test_equal_systems_stand_in_the_order_of_their_names():
    names = ["elm", "ash", "oak", "fir", "yew"]
    games = [g for i, a in enumerate(names) for b in names[i + 1 :] for g in _games(a, b, 1, 0, 1)]
    assert list(bradley_terry(games).strength) == sorted(names)


def test_a_share_of_several_raters_is_part_win_and_part_loss():
    """Four games of 0.75 have the strengths of three games won and one lost."""
    shared = bradley_terry([Game(f"p{i}", "A", "B", 0.75) for i in range(4)])
    split = bradley_terry([Game(f"p{i}", "A", "B", float(i > 0)) for i in range(4)])
    assert shared.strength["A"].value == pytest.approx(split.strength["A"].value)
    assert shared.win_rate("A", "B") == pytest.approx(0.75)
    with pytest.raises(ValueError, match="between"):
        bradley_terry([Game("p", "A", "B", 1.5)])
