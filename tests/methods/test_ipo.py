"""IPO against values worked by hand: its two reductions are two algorithms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boresight.methods.ipo import Config, loss, target_margin

nats = st.floats(-400, 0, allow_nan=False)


@pytest.mark.parametrize(
    ("tau", "target", "start"), [(0.01, 50.0, 2500.0), (0.1, 5.0, 25.0), (0.5, 1.0, 1.0)]
)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_starts_at_the_squared_target(pair, tau, target, start, reduction):
    """h = 0 at the first step: (1 / (2 tau))^2."""
    cfg = Config(tau=tau, reduction=reduction)
    out = loss(pair(-15.0, -28.0, -15.0, -28.0), cfg)
    assert target_margin(cfg) == pytest.approx(target)
    assert out.loss.item() == pytest.approx(start)
    assert out.metrics["target_margin"].item() == pytest.approx(target)


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 9.0), ("mean", (0.4 - 2.0) ** 2)])
def test_hand_worked(pair, reduction, expected):
    """Log-ratios 3 and -2: h = 5, or 3/10 + 2/20 = 0.4 per token; tau = 0.25 asks for 2."""
    out = loss(pair(-12.0, -30.0, -15.0, -28.0), Config(tau=0.25, reduction=reduction))
    assert out.loss.item() == pytest.approx(expected)


def test_reductions_agree_on_answers_of_one_token(pair):
    x = pair(-2.0, -3.0, -2.5, -1.0, won_len=1.0, lost_len=1.0)
    assert loss(x, Config(reduction="sum")).loss.item() == loss(x, Config(reduction="mean")).loss.item()


def test_default_is_the_papers_sum():
    assert Config().reduction == "sum"


@given(won=nats, lost=nats, ref_won=nats, ref_lost=nats, shift=st.floats(-50, 50))
def test_only_the_difference_of_the_answers_matters(pair, won, lost, ref_won, ref_lost, shift):
    here = loss(pair(won, lost, ref_won, ref_lost), Config()).loss
    there = loss(pair(won + shift, lost + shift, ref_won, ref_lost), Config()).loss
    torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)


@given(won=nats, lost=nats, ref_won=nats, ref_lost=nats)
def test_gradient_changes_sign_at_the_target(pair, won, lost, ref_won, ref_lost):
    """dL/dw = 2 (h - 5): unlike DPO, a margin beyond the target is pushed back."""
    x = pair(won, lost, ref_won, ref_lost)
    loss(x, Config(tau=0.1)).loss.backward()
    expected = 2 * (x.margin.detach() - 5)
    torch.testing.assert_close(x.policy_chosen.grad, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(x.policy_rejected.grad, -expected, rtol=1e-9, atol=1e-9)
