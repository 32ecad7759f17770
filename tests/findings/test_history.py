"""Averages and shares of a log, by hand."""

from __future__ import annotations

import math

import pytest

from boresight.findings.history import History, apart, mean, median, variance
from boresight.findings.live_checks import overfitting
from tests.findings.logs import logged


def test_progress_is_the_share_of_the_planned_steps():
    assert logged({"loss": [1.0] * 5}, steps=20).progress == 0.25
    assert (
        History(0).progress == 0.0
        and History(1, step=1).progress == 1.0
        and History(4, step=1).progress == 0.25
    )


def test_lines_of_one_step_and_an_earlier_line_move_nothing_back():
    history = logged({"loss": [1.0, 2.0, 3.0]})
    history.add(1, "eval", {"accuracy": 0.5})
    assert history.step == 3 and history.held_out("accuracy") == 0.5 and history.held_out("margin") is None


def test_values_first_and_recent():
    history = logged({"loss": [float(i) for i in range(60)]})
    assert history.first("loss", 2) == [0.0, 1.0] and history.recent("loss", 2) == [58.0, 59.0]
    assert len(history.first("loss")) == 10 and len(history.recent("loss")) == 50
    assert history.values("loss")[-1] == 59.0 and history.values("other") == []


def test_what_is_not_finite_is_broken_in_training_only():
    history = logged({"loss": [1.0, math.nan], "kl": [None, 1.0], "text": ["x"]}, {"margin": [math.inf]})
    assert history.broken == {"loss": 2, "kl": 1, "text": 1}
    assert history.values("loss") == [1.0] and history.values("margin", "eval") == []


@pytest.mark.parametrize("value", [10**400, 1e200, -math.inf, "1"])
def test_what_cannot_be_averaged_is_broken_too(value):
    """The square of 1e200 is no float, nor is an integer of 400 digits."""
    history = logged({"margin": [1.0] * 30 + [value] * 30}, {})
    assert history.broken == {"margin": 31} and history.trend("margin") == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("value", [7.0, -0.5])
def test_a_share_outside_of_0_and_1_has_no_interval(value):
    history = logged({}, {"accuracy": [0.5, value], "stopped_share": [0.5, value], "answers": [4.0, 4.0]})
    assert history.held_out_share() is None and history.answer_shares("stopped_share") is None


def test_rows_that_share_prompts_have_the_limits_of_their_prompts():
    history = logged({"accuracy": [1.0] * 30}, {"accuracy": [0.5, 0.6]}, eval_rows=400)
    of_rows = history.held_out_share()
    history.eval_prompts = 100
    assert history.held_out_share() == logged({}, {"accuracy": [0.5, 0.6]}, eval_rows=100).held_out_share()
    assert of_rows.n == 400 and history.held_out_units == "prompts"
    assert "held-out accuracy 0.60 [0.50, 0.70] of 100 prompts" in overfitting(history).why
    history.eval_prompts = 400  # one row each
    assert history.held_out_share() == of_rows and history.held_out_units == "rows"


def test_a_held_out_share_has_limits_after_the_first_step():
    share = logged({}, {"accuracy": [0.5, 0.6]}, eval_rows=100).held_out_share()
    assert (share.value, share.n) == (0.6, 100) and (share.low, share.high) == pytest.approx(
        (0.4972, 0.6967), abs=1e-4
    )
    assert logged({}, {"accuracy": [0.5]}, eval_rows=0).held_out_share() is None
    unknown = History(10)
    unknown.add(5, "eval", {"accuracy": 0.5})
    assert unknown.held_out_share() is None
    start = History(10, 100)
    start.add(0, "eval", {"accuracy": 0.5})
    assert start.held_out_share() is None and start.held_out_share("margin") is None
    start.add(1, "eval", {"accuracy": 0.5})
    assert start.held_out_share() is not None


def test_shares_of_answers_need_two_evaluations_and_a_number():
    held = {"stopped_share": [1.0, 0.75, 0.5], "answers": [4.0] * 3}
    first, last = logged({}, held).answer_shares("stopped_share")
    assert (first.value, last.value, last.n) == (1.0, 0.5, 4) and first.low == pytest.approx(0.3976, abs=1e-4)
    assert logged({}, {**held, "answers": []}).answer_shares("stopped_share") is None
    assert logged({}, {"stopped_share": [1.0], "answers": [4.0]}).answer_shares("stopped_share") is None


def test_means_of_answers_are_joined_with_their_errors_by_step():
    history = logged({}, {"reward": [0.1, 0.2, 0.3]})
    history.add(20, "eval", {"reward_error": 0.05})
    assert history.answer_means("reward") == [(0.2, 0.05)]


def test_a_gain_by_hand():
    """0, 1 | 2, 5: means 1/2 and 7/2, variances 1/2 and 9/2, error √((1/2 + 9/2) / 2)."""
    history = logged({"reward": [0.0, 1.0, 9.0, 2.0, 5.0]})
    assert history.gain("reward", 2) == (3.0, pytest.approx(math.sqrt(2.5)))
    assert history.gain("reward", 3) is None
    assert logged({"reward": [0.0, 1.0, 2.0, 5.0]}).gain("reward", 2) is not None
    assert logged({"reward": [1.0] * 40}).gain("reward") == (0.0, 0.0)
    assert logged({"reward": [1.0] * 39}).gain("reward") is None


def test_means_lie_apart_by_twice_the_error_of_their_difference():
    """√(3² + 4²) = 5, so 10 is not apart and 10.1 is."""
    assert (
        not apart((5.0, 3.0), (15.0, 4.0))
        and not apart((20.0, 4.0), (11.0, 3.0))
        and apart((15.1, 4.0), (5.0, 3.0))
    )


def test_mean_variance_and_the_upper_median():
    assert (mean([1.0, 2.0, 6.0]), variance([1.0, 2.0, 6.0])) == (3.0, 7.0)
    assert median([3.0, 1.0, 2.0]) == 2.0 and median([4.0, 1.0, 3.0, 2.0]) == 3.0
