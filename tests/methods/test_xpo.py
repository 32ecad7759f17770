"""XPO against values worked by hand, and the guard on alpha."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch
from pydantic import ValidationError

from boresight.methods import dpo
from boresight.methods.inputs import OnlinePairLogps, PairLogps
from boresight.methods.xpo import Config, loss


def hand(dtype=torch.float64):
    """Two pairs with h = 5; the reference's sample lost the first and won the second."""
    rows = [[-12.0, -12.0], [-30.0, -30.0], [-15.0, -15.0], [-28.0, -28.0], [10.0, 10.0], [20.0, 20.0]]
    values = [torch.tensor(row, dtype=dtype) for row in rows]
    values[0].requires_grad_()
    values[1].requires_grad_()
    return OnlinePairLogps(*values, chosen_from_ref=torch.tensor([False, True]))


def test_hand_worked():
    """0.474077 + 0.002 * log pi(y_ref), where y_ref has -30 nats in the first pair and -12 in the second."""
    out = loss(hand(), Config(alpha=0.002))
    assert out.per_example.tolist() == pytest.approx([0.47407698418 - 0.06, 0.47407698418 - 0.024])
    assert out.metrics["explored_logp"].tolist() == [-30.0, -12.0]
    assert out.metrics["preference_loss"].tolist() == pytest.approx([0.47407698418] * 2)


def test_alpha_acts_on_the_references_sample_whoever_wins():
    """Beside DPO's gradient, alpha / n on y_ref and nothing on the policy's own sample."""
    x, plain = hand(), hand()
    loss(x, Config(alpha=0.002)).loss.backward()
    dpo.loss(plain, dpo.Config()).loss.backward()
    on_chosen = (x.policy_chosen.grad - plain.policy_chosen.grad) * 2
    on_rejected = (x.policy_rejected.grad - plain.policy_rejected.grad) * 2
    torch.testing.assert_close(on_chosen, torch.tensor([0.0, 0.002], dtype=torch.float64), rtol=0, atol=1e-16)
    torch.testing.assert_close(
        on_rejected, torch.tensor([0.002, 0.0], dtype=torch.float64), rtol=0, atol=1e-16
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_alpha_it_is_dpo_bit_for_bit(seed, dtype, batches):
    x = batches.make(OnlinePairLogps, 16, seed, dtype)
    y = batches.leaves(PairLogps(**{f.name: getattr(x, f.name) for f in fields(PairLogps)}))
    here, there = loss(x, Config(alpha=0.0, beta=0.3)), dpo.loss(y, dpo.Config(beta=0.3))
    here.loss.backward()
    there.loss.backward()
    assert torch.equal(here.loss, there.loss)
    assert torch.equal(here.per_example, there.per_example)
    assert torch.equal(batches.grads(x), batches.grads(y))


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.05), (0.01, 0.1), (0.1, 1.0)])
def test_settings_that_drown_the_preference_are_refused(alpha, beta):
    """alpha / (beta / 2) is 4, 0.2 and 0.2; the first is the study's."""
    with pytest.raises(ValidationError, match=rf"is {alpha / (beta / 2):.3g}, above 0.05: alpha would lower"):
        Config(alpha=alpha, beta=beta)
    assert Config(alpha=alpha, beta=beta, allow_large_alpha=True).alpha == alpha


def test_the_guard_looks_at_the_whole_schedule():
    """Largest alpha over smallest beta: 0.003 / (0.1 / 2) = 0.06."""
    with pytest.raises(ValidationError, match=r"is 0\.06, above 0\.05"):
        Config(alpha=[[0, 1e-5], [0.5, 0.003], [1, 0]])
    with pytest.raises(ValidationError, match=r"above 0\.05"):
        Config(alpha=1e-3, beta=[[0, 0.1], [1, 0.01]])


def test_guarded_share_is_the_ratio_of_gradients_at_the_first_step():
    """h = 0: DPO's gradient on y_ref is beta / 2, XPO's addition alpha; here 0.002 / (0.1 / 2) = 0.04."""
    x = hand()
    start = OnlinePairLogps(
        x.policy_chosen, x.policy_rejected, x.policy_chosen.detach(), x.policy_rejected.detach(),
        x.chosen_len, x.rejected_len, x.chosen_from_ref,
    )  # fmt: skip
    out = loss(start, Config(alpha=0.002))
    assert out.loss.item() == pytest.approx(math.log(2) + 0.002 * (-30 - 12) / 2)
    out.per_example[0].backward()
    assert x.policy_chosen.grad[0].item() == pytest.approx(-0.05)
    assert x.policy_rejected.grad[0].item() == pytest.approx(0.05 * (1 + 0.04))


def test_schedules_must_be_resolved():
    cfg = Config(alpha=[[0, 1e-3], [1, 0]])
    with pytest.raises(ValueError, match=r"resolve it with config\.at"):
        loss(hand(), cfg)
    assert loss(hand(), cfg.at(0.5)).loss.item() == loss(hand(), Config(alpha=5e-4)).loss.item()


def test_decay_to_nothing_ends_as_dpo():
    cfg = Config(alpha=[[0, 1e-3], [1, 0]]).at(1.0)
    assert torch.equal(loss(hand(), cfg).loss, dpo.loss(hand(), dpo.Config()).loss)


def test_a_bonus_dominates_from_a_twentieth_of_the_preference_on():
    """alpha / (beta / 2): 0.1 / 0.025 = 4; at the defaults 1e-5 / 0.05 = 2e-4, which is no matter."""
    assert Config(alpha=0.1, beta=0.05, allow_large_alpha=True).dominating_bonus == pytest.approx(4.0)
    assert (Config().alpha, Config().beta, Config().dominating_bonus) == (1e-5, 0.1, None)
