"""Offline XPO against values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from boresight.methods import dpo
from boresight.methods.inputs import PairLogps
from boresight.methods.xpo_offline import Config, loss


@pytest.mark.parametrize(("explore", "logp"), [("rejected", -28.0), ("chosen", -15.0)])
def test_starts_at_ln_two_plus_alpha_times_the_log_probability(pair, explore, logp):
    start = pair(won=-15.0, lost=-28.0)
    value = loss(start, Config(alpha=0.002, explore=explore)).loss.item()
    assert value == pytest.approx(math.log(2) + 0.002 * logp, abs=1e-15)


@pytest.mark.parametrize(("explore", "expected"), [("rejected", -30.0), ("chosen", -12.0)])
def test_hand_worked(pair, explore, expected):
    """h = 5 and beta = 0.1: 0.474077 + 0.1 * log pi(y_e)."""
    cfg = Config(alpha=0.1, explore=explore, allow_large_alpha=True)
    assert loss(pair(), cfg).loss.item() == pytest.approx(0.47407698418 + 0.1 * expected)


def test_gradient_on_the_explored_answer_grows_by_alpha_and_the_other_is_untouched(pair):
    x, plain = pair(), pair()
    loss(x, Config(alpha=0.002)).loss.backward()
    dpo.loss(plain, dpo.Config()).loss.backward()
    assert (x.policy_rejected.grad - plain.policy_rejected.grad).item() == pytest.approx(0.002, abs=1e-15)
    assert torch.equal(x.policy_chosen.grad, plain.policy_chosen.grad)


@pytest.mark.parametrize("seed", range(3))
def test_without_alpha_it_is_dpo_bit_for_bit(seed, batches):
    x = batches.make(PairLogps, 16, seed, torch.float32)
    assert torch.equal(loss(x, Config(alpha=0)).loss, dpo.loss(x, dpo.Config()).loss)


@pytest.mark.parametrize("alpha", [0.1, 0.01])
def test_the_studys_alpha_needs_a_decision(alpha):
    with pytest.raises(ValidationError, match="allow_large_alpha: true"):
        Config(alpha=alpha)
