"""GRPO against values worked by hand, and the settings of its successors against what they say."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch

from boresight.methods import rloo
from boresight.methods.grpo import Config, advantages, kl_of, loss
from boresight.methods.inputs import GroupLogps, GroupTokenLogps

NAN = math.nan


def group(rewards, lengths, ratios, kl=0.0):
    """One prompt's completions, whose tokens all have the log-ratio of its entry to the old policy."""
    n = torch.tensor([lengths], dtype=torch.float64)
    there = (torch.arange(max(lengths)) < n.unsqueeze(-1)).double()
    old = -2.0 * there
    policy = (old + torch.tensor([ratios], dtype=torch.float64).log().unsqueeze(-1)) * there
    ref = (policy - kl) * there
    reward = torch.tensor([rewards], dtype=torch.float64)
    return GroupTokenLogps(
        policy.sum(-1), old.sum(-1), ref.sum(-1), reward, n, torch.zeros(reward.shape, dtype=torch.bool),
        policy_tokens=policy.requires_grad_(), old_tokens=old, ref_tokens=ref,
    )  # fmt: skip


def test_advantages_by_hand():
    """(1, 0, 0, 1): mean 1/2, deviation sqrt(4 * 1/4 / 3) = 1/sqrt(3)."""
    found = advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64), True)
    assert found.tolist()[0] == pytest.approx([x * 0.5 / (1 / math.sqrt(3) + 1e-4) for x in (1, -1, -1, 1)])


def test_missing_rewards_are_in_nobodys_mean():
    found = advantages(torch.tensor([[3.0, NAN, 1.0], [NAN, 2.0, NAN]]), False)
    assert found[0, [0, 2]].tolist() == [1.0, -1.0]
    assert found[0, 1].isnan() and found[1].isnan().all()


@pytest.mark.parametrize("reward", [0.1, 1.0, 1 / 3])
def test_equal_rewards_have_no_advantage_at_all(reward):
    """Rounding would leave some 1e-17 / 1e-4, and Adam makes a full step of it."""
    assert advantages(torch.full((1, 3), reward), True).tolist() == [[0.0, 0.0, 0.0]]


PLAIN = {"beta": 0.0, "standardize": False}


def test_loss_by_hand():
    """Advantages are +1/2 and -1/2; ratios 1.1 and 0.9 are inside the clip: -(1.1 - 0.9) / 2 / 2."""
    x = group([1.0, 0.0], [2, 4], [1.1, 0.9])
    assert loss(x, Config(**PLAIN)).loss.item() == pytest.approx(-0.05)


def test_tokens_beyond_the_clip_have_no_gradient():
    """1.3 with a gain is cut at 1.2, or at 1.28; 0.7 with a loss at 0.8; the other two go on."""
    for ratios, loses in (([1.3, 0.7], (True, True)), ([0.7, 1.3], (False, False))):
        x = group([1.0, 0.0], [2, 2], ratios)
        loss(x, Config(**PLAIN)).loss.backward()
        stopped = (x.policy_tokens.grad == 0).all(-1)[0].tolist()
        assert tuple(stopped) == loses
    x = group([1.0, 0.0], [2, 2], [1.25, 1.0])
    out = loss(x, Config(**PLAIN, clip_high=0.28))
    assert out.loss.item() == pytest.approx(-(1.25 - 1.0) / 4)
    assert out.metrics["clipped_ratio"].item() == 0.0
    assert loss(x, Config(**PLAIN)).metrics["clipped_ratio"].item() == pytest.approx(0.5)


def test_what_the_mean_runs_over():
    """On-policy, +1/2 of 2 tokens and -1/2 of 4: means 0; per token -(1 - 2) / 6; sums -(1 - 2) / 2."""
    x = group([1.0, 0.0], [2, 4], [1.0, 1.0])
    found = {a: loss(x, Config(**PLAIN, average=a)) for a in ("answer", "token", "sum")}
    assert {a: out.loss.item() for a, out in found.items()} == pytest.approx(
        {"answer": 0.0, "token": 1 / 6, "sum": 1 / 2}
    )
    assert {a: float(out.weight) for a, out in found.items()} == {"answer": 2.0, "token": 6.0, "sum": 2.0}


def test_gradient_makes_the_better_answer_likelier_by_the_token():
    """On-policy: -A / |y| / n for every token of an answer."""
    x = group([1.0, 0.0], [2, 4], [1.0, 1.0])
    loss(x, Config(**PLAIN)).loss.backward()
    assert x.policy_tokens.grad[0, 0].tolist() == pytest.approx([-1 / 8, -1 / 8, 0.0, 0.0])
    assert x.policy_tokens.grad[0, 1].tolist() == pytest.approx([1 / 16] * 4)


def test_dr_grpo_is_rloo_but_for_the_size():
    """Its gradient is (k - 1) / k of RLOO's."""
    x = group([1.0, 0.0, 0.0], [2, 4, 3], [1.0, 1.0, 1.0])
    loss(x, Config(**PLAIN, average="sum")).loss.backward()
    names = [f.name for f in fields(GroupLogps)]
    other = replace(GroupLogps(**{n: getattr(x, n).detach() for n in names}))
    other.policy.requires_grad_()
    rloo.loss(other, rloo.Config(beta=0.0)).loss.backward()
    per_token = other.policy.grad.unsqueeze(-1) * x.scored
    torch.testing.assert_close(x.policy_tokens.grad, per_token * 2 / 3, rtol=1e-12, atol=1e-15)


def test_gspo_takes_one_ratio_an_answer():
    """Ratios 2 and 1/2 of two tokens make 1: nothing is clipped, where a ratio a token clips one of them."""
    x = group([1.0, 0.0], [2, 2], [1.0, 1.0])
    tokens = x.policy_tokens.detach().clone()
    tokens[0, 0] += torch.tensor([math.log(2), -math.log(2)], dtype=torch.float64)
    x = replace(x, policy_tokens=tokens.requires_grad_())
    out = loss(x, Config(**PLAIN, ratio="sequence", clip=3e-4))
    assert out.loss.item() == pytest.approx(0.0, abs=1e-12) and out.metrics["clipped_ratio"].item() == 0.0
    out.loss.backward()
    assert x.policy_tokens.grad[0, 0].tolist() == pytest.approx([-1 / 8, -1 / 8])
    assert loss(x, Config(**PLAIN)).metrics["clipped_ratio"].item() == pytest.approx(1 / 4)


def test_the_kl_is_k3_and_pulls_back():
    """ref a nat below the policy: K = e^-1 + 1 - 1 and dK/dpolicy = 1 - e^-1."""
    x = group([1.0, 1.0], [2, 2], [1.0, 1.0], kl=1.0)
    out = loss(x, Config(beta=0.5))
    assert out.loss.item() == pytest.approx(0.5 * math.exp(-1))
    out.loss.backward()
    assert x.policy_tokens.grad.flatten().tolist() == pytest.approx([0.5 * (1 - math.exp(-1)) / 4] * 4)
    assert kl_of(torch.tensor(-3.0), torch.tensor(-3.0)).item() == 0.0


def test_on_policy_means_stand_for_tokens(batches):
    """Without tokens, and with old and reference as the policy: the same loss, and the same pull a token."""
    x = batches.make(GroupTokenLogps, 6)
    same = replace(x, old=x.policy, ref=x.policy, old_tokens=x.policy_tokens, ref_tokens=x.policy_tokens)
    same = batches.leaves(same)
    bare = batches.make(GroupLogps, 6)
    sums = {n: getattr(same, n).clone() for n in (f.name for f in fields(bare))}
    bare = GroupTokenLogps(**{**sums, "policy": same.policy.clone().requires_grad_()})
    for cfg in (
        Config(),
        Config(average="token"),
        Config(average="sum", standardize=False),
        Config(ratio="sequence"),
    ):
        same.policy_tokens.grad = bare.policy.grad = None
        one, other = loss(same, cfg), loss(bare, cfg)
        one.loss.backward()
        other.loss.backward()
        torch.testing.assert_close(one.loss, other.loss, rtol=1e-12, atol=1e-13)
        spread = bare.policy.grad.unsqueeze(-1) * same.scored
        torch.testing.assert_close(same.policy_tokens.grad, spread, rtol=1e-9, atol=1e-13)
