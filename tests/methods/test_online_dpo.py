"""Online DPO against a value worked by hand, and against DPO on the same pairs."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from pydantic import ValidationError

from boresight.methods import dpo
from boresight.methods.inputs import OnlinePairLogps, PairLogps
from boresight.methods.online_dpo import Config, loss


def online(pair, from_ref=False):
    return OnlinePairLogps(
        **{f.name: getattr(pair, f.name) for f in fields(PairLogps)}, chosen_from_ref=torch.tensor([from_ref])
    )


def test_hand_worked(pair):
    """h = 5 and beta = 0.1: -log sigmoid(0.5) = 0.474077."""
    assert loss(online(pair()), Config()).loss.item() == pytest.approx(0.47407698418)


@pytest.mark.parametrize("from_ref", [False, True])
def test_it_is_dpo_whoever_drew_the_better_sample(pair, from_ref):
    x, plain = online(pair(), from_ref), pair()
    out, same = loss(x, Config(beta=0.3)), dpo.loss(plain, dpo.Config(beta=0.3))
    out.loss.backward()
    same.loss.backward()
    assert torch.equal(out.loss, same.loss)
    assert torch.equal(x.policy_chosen.grad, plain.policy_chosen.grad) and x.policy_chosen.grad.item() < 0
    assert torch.equal(x.policy_rejected.grad, plain.policy_rejected.grad)


def test_the_limit_of_a_won_pair_is_no_loss_and_no_pull(pair):
    x = online(pair(won=4000.0))
    out = loss(x, Config())
    out.loss.backward()
    assert out.loss.item() < 1e-100 and abs(x.policy_chosen.grad.item()) < 1e-100


def test_who_draws_the_second_sample():
    assert Config().samples_reference is False
    assert Config(second_sample="reference").samples_reference is True
    with pytest.raises(ValidationError, match="'policy' or 'reference'"):
        Config(second_sample="nobody")
