"""DPO and its options against values worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from boresight.methods.dpo import (
    Config,
    chosen_nll,
    chosen_shortfall,
    hinge_loss,
    loss,
    sigmoid_loss,
    smoothed,
)

nats = st.floats(-400, 0, allow_nan=False)
LN2 = math.log(2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # beta h = 0.5: ln(1 + e^-0.5) = 0.474077
        ({}, 0.47407698418),
        # beta h = 5: ln(1 + e^-5) = 0.0067153
        ({"beta": 1.0}, 0.00671534849),
        # 1 - 0.5
        ({"loss_type": "hinge"}, 0.5),
        # 1 - 5 < 0
        ({"loss_type": "hinge", "beta": 1.0}, 0.0),
        # 0.9 * 0.474077 + 0.1 * ln(1 + e^0.5) = 0.9 * 0.474077 + 0.1 * 0.974077
        ({"label_smoothing": 0.1}, 0.52407698418),
        # 0.9 * (1 - 0.5) + 0.1 * (1 + 0.5)
        ({"loss_type": "hinge", "label_smoothing": 0.1}, 0.6),
        # beta * 0.4 = 0.5 with beta 1.25
        ({"length_normalised": True, "beta": 1.25}, 0.47407698418),
        # 0.474077 + 2 * 12 / 10
        ({"sft_weight": 2.0}, 2.87407698418),
        # 0.474077 + 12 / 10, as RPO has it
        ({"sft_weight": 1.0}, 1.67407698418),
        # the chosen answer gained 3 nats: nothing to penalise
        ({"dpop_lambda": 50.0}, 0.47407698418),
    ],
    ids=str,
)
def test_hand_worked(pair, options, expected):
    assert loss(pair(), Config(**options)).loss.item() == pytest.approx(expected, abs=1e-10)


def test_half_of_the_labels_cannot_be_flipped():
    assert Config(label_smoothing=0.49).label_smoothing == 0.49
    with pytest.raises(ValidationError, match=r"less than 0\.5"):
        Config(label_smoothing=0.5)


def test_dpop_takes_lambda_times_the_shortfall_from_the_margin(pair):
    """Chosen fell by 1 nat, rejected by 6: h = 5; with lambda 3, logit = 0.1 * (5 - 3 * 1) = 0.2."""
    x = pair(-16.0, -34.0, -15.0, -28.0)
    assert chosen_shortfall(x).item() == 1.0
    assert loss(x, Config(dpop_lambda=3.0)).loss.item() == pytest.approx(
        math.log1p(math.exp(-0.2)), abs=1e-12
    )


def test_smoothing_mixes_the_losses_of_both_labels():
    """A tenth flipped, hinge at 0.5: 0.9 * 0.5 + 0.1 * 1.5 = 0.6; none flipped: the loss itself."""
    logit = torch.tensor(0.5, dtype=torch.float64)
    assert smoothed(hinge_loss, logit, 0.1).item() == pytest.approx(0.6)
    assert smoothed(sigmoid_loss, logit, 0.0).item() == sigmoid_loss(logit).item()


def test_likelihood_of_the_chosen_answer_is_per_token_of_its_own(pair):
    """12 nats over 10 tokens; the rejected answer plays no part."""
    assert chosen_nll(pair()).item() == chosen_nll(pair(lost=-99.0, lost_len=3.0)).item() == 1.2


def test_added_sft_term_is_logged_apart(pair):
    out = loss(pair(), Config(sft_weight=2.0))
    assert out.metrics["preference_loss"].item() == pytest.approx(0.47407698418, abs=1e-10)
    assert out.metrics["sft_nll"].item() == pytest.approx(1.2)


@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0, 10.0])
def test_starts_at_ln_two_whatever_beta(pair, beta):
    assert loss(pair(-15.0, -28.0, -15.0, -28.0), Config(beta=beta)).loss.item() == pytest.approx(
        LN2, abs=1e-15
    )


def test_is_the_bradley_terry_likelihood():
    """sigmoid(2) + sigmoid(-2) = 1: the two labels' probabilities add to one."""
    z = torch.tensor(2.0, dtype=torch.float64)
    assert (torch.exp(-sigmoid_loss(z)) + torch.exp(-sigmoid_loss(-z))).item() == pytest.approx(
        1.0, abs=1e-15
    )


def test_survives_extreme_margins():
    """-log sigmoid(-z) tends to z: no overflow at z = 1e4, where exp would."""
    z = torch.tensor([-1e4, 1e4], dtype=torch.float32)
    assert sigmoid_loss(z).tolist() == [1e4, 0.0]
    assert hinge_loss(z).tolist() == [10001.0, 0.0]


@given(won=nats, lost=nats, ref_won=nats, ref_lost=nats, shift=st.floats(-50, 50))
def test_shifting_both_models_alike_changes_nothing(pair, won, lost, ref_won, ref_lost, shift):
    """Only log-ratios enter: adding c to policy and reference of one answer leaves the loss."""
    here = loss(pair(won, lost, ref_won, ref_lost), Config()).loss
    there = loss(pair(won + shift, lost, ref_won + shift, ref_lost), Config()).loss
    torch.testing.assert_close(here, there, rtol=0, atol=1e-10)


@given(won=nats, lost=nats, ref_won=nats, ref_lost=nats, shift=st.floats(-50, 50))
def test_only_the_difference_of_the_answers_matters(pair, won, lost, ref_won, ref_lost, shift):
    here = loss(pair(won, lost, ref_won, ref_lost), Config()).loss
    there = loss(pair(won + shift, lost + shift, ref_won, ref_lost), Config()).loss
    torch.testing.assert_close(here, there, rtol=0, atol=1e-10)


@given(won=nats, lost=nats, ref_won=nats, ref_lost=nats)
def test_gradient_is_beta_times_the_probability_of_the_wrong_label(pair, won, lost, ref_won, ref_lost):
    """dL/dw = -beta sigmoid(-beta h) = -dL/dl: up for the chosen, down for the rejected, equally."""
    x = pair(won, lost, ref_won, ref_lost)
    loss(x, Config(beta=0.2)).loss.backward()
    expected = -0.2 * torch.sigmoid(-0.2 * x.margin.detach())
    torch.testing.assert_close(x.policy_chosen.grad, expected, rtol=1e-10, atol=1e-300)
    torch.testing.assert_close(x.policy_rejected.grad, -expected, rtol=1e-10, atol=1e-300)


def test_smoothed_loss_is_least_at_the_margin_of_the_assumed_noise(pair):
    """cDPO's minimum: sigmoid(beta h) = 1 - e, so h = ln(9) / beta = 21.97 nats for e = 0.1, beta = 0.1."""
    x = pair(-15 + math.log(9) / 0.1, -28.0, -15.0, -28.0)
    loss(x, Config(label_smoothing=0.1)).loss.backward()
    assert x.policy_chosen.grad.abs().item() < 1e-15
    for step in (-1.0, 1.0):
        beside = replace(x, policy_chosen=x.policy_chosen.detach() + step)
        assert loss(beside, Config(label_smoothing=0.1)).loss > loss(x, Config(label_smoothing=0.1)).loss
