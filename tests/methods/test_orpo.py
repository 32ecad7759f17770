"""ORPO against values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from boresight.methods.inputs import PolicyPairLogps
from boresight.methods.orpo import Config, log_odds, loss


def pair(won, lost, len_w=10.0, len_l=20.0, dtype=torch.float64):
    x = PolicyPairLogps(*(torch.tensor([v], dtype=dtype) for v in (won, lost, len_w, len_l)))
    x.policy_chosen.requires_grad_()
    x.policy_rejected.requires_grad_()
    return x


LN2, LN4 = math.log(2), math.log(4)


def test_hand_worked():
    """p is 1/2 for the chosen and 1/4 for the rejected answer: odds 1 and 1/3, so the logit is ln 3.

    sigmoid(ln 3) = 3/4, so the preference term is ln(4/3), and the likelihood term ln 2.
    """
    out = loss(pair(-10 * LN2, -20 * LN4), Config(odds_weight=0.25))
    assert out.loss.item() == pytest.approx(LN2 + 0.25 * math.log(4 / 3))
    assert out.metrics["preference_loss"].item() == pytest.approx(math.log(4 / 3))
    assert out.metrics["sft_nll"].item() == pytest.approx(LN2)


def test_answers_equally_likely_per_token_start_at_ln_two():
    assert loss(pair(-10.0, -20.0), Config(odds_weight=0.1)).loss.item() == pytest.approx(1.0 + 0.1 * LN2)


def test_an_impossible_rejected_answer_leaves_supervised_learning_of_the_chosen_one():
    x = pair(-12.0, -math.inf)
    out = loss(x, Config(odds_weight=0.1))
    out.loss.backward()
    assert out.loss.item() == pytest.approx(1.2)
    assert x.policy_chosen.grad.item() == pytest.approx(-0.1)
    assert x.policy_rejected.grad.item() == 0.0


def test_gradient_pushes_the_chosen_answer_up_and_the_rejected_one_down():
    """d log odds / d mean = 1 / (1 - p); with logit ln 3 the preference pulls with sigmoid(-ln 3) = 1/4.

    Chosen: -1/10 * (1 + 0.25 * 1/4 / (1 - 1/2)); rejected: 1/20 * 0.25 * 1/4 / (1 - 1/4).
    """
    x = pair(-10 * LN2, -20 * LN4)
    loss(x, Config(odds_weight=0.25)).loss.backward()
    assert x.policy_chosen.grad.item() == pytest.approx(-0.1 * (1 + 0.25 * 0.25 / 0.5))
    assert x.policy_rejected.grad.item() == pytest.approx(0.05 * 0.25 * 0.25 / 0.75)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_certain_answer_has_finite_odds_and_gradients(dtype):
    """log odds of 1 is infinite; -1e-6 nats a token, where it is held, make about 13.8."""
    x = pair(0.0, 0.0, dtype=dtype)
    out = loss(x, Config(odds_weight=1.0))
    out.loss.backward()
    assert out.loss.item() == pytest.approx(LN2, rel=1e-5)
    assert x.policy_chosen.grad.isfinite().all() and x.policy_rejected.grad.isfinite().all()
    assert log_odds(torch.zeros(1, dtype=dtype)).item() == pytest.approx(math.log(1e6), rel=1e-4)


def test_small_probabilities_keep_their_odds():
    """Of p = exp(-80) the odds are p itself."""
    assert log_odds(torch.tensor([-80.0])).item() == -80.0
