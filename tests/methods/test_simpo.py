"""SimPO against values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boresight.methods.inputs import PolicyPairLogps
from boresight.methods.simpo import Config, loss


def pair(won, lost, len_w, len_l):
    return PolicyPairLogps(*(torch.tensor([v], dtype=torch.float64) for v in (won, lost, len_w, len_l)))


@pytest.mark.parametrize(
    ("beta", "gamma", "logit"),
    [(2.0, 1.0, -0.4), (2.0, 0.0, 0.6), (10.0, 1.0, 2.0)],
)
def test_hand_worked(beta, gamma, logit):
    """-12/10 against -30/20 is a lead of 0.3 nats per token: logit = 0.3 beta - gamma."""
    value = loss(pair(-12.0, -30.0, 10.0, 20.0), Config(beta=beta, gamma=gamma)).loss.item()
    assert value == pytest.approx(math.log1p(math.exp(-logit)))


@given(
    repeat=st.integers(1, 50),
    won=st.floats(-200, 0),
    lost=st.floats(-200, 0),
    n=st.integers(1, 60),
    m=st.integers(1, 60),
)
def test_length_alone_does_not_win(repeat, won, lost, n, m):
    """An answer `repeat` times as long at the same nats per token has the same loss."""
    here = loss(pair(won, lost, n, m), Config()).loss
    there = loss(pair(won * repeat, lost, n * repeat, m), Config()).loss
    torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)


def test_gradient_is_shared_among_the_tokens_of_an_answer():
    """dL/dw = -beta / |won| * sigmoid(-logit); logit 0 makes it -beta / (2 |won|)."""
    x = pair(-10.0, -40.0, 10.0, 20.0)
    x.policy_chosen.requires_grad_()
    x.policy_rejected.requires_grad_()
    loss(x, Config(beta=1.0, gamma=1.0)).loss.backward()
    assert x.policy_chosen.grad.item() == pytest.approx(-1 / 20)
    assert x.policy_rejected.grad.item() == pytest.approx(1 / 40)


def test_the_authors_settings():
    """Beta from 2.0 on, and gamma / beta = 0.5."""
    assert (Config().beta, Config().gamma) == (2.0, 1.0)
