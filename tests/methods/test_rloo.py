"""RLOO against values worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from boresight.methods import grpo, rloo
from boresight.methods.inputs import GroupLogps, GroupTokenLogps
from boresight.methods.rloo import Config, all_equal, leave_one_out, loss

NAN = float("nan")


def groups(reward, policy=None, old=None, ref=None, truncated=None):
    reward = torch.tensor(reward, dtype=torch.float64)
    policy = torch.full_like(reward, -10.0) if policy is None else torch.tensor(policy, dtype=torch.float64)
    old = policy if old is None else torch.tensor(old, dtype=torch.float64)
    ref = policy if ref is None else torch.tensor(ref, dtype=torch.float64)
    cut = torch.zeros_like(reward, dtype=torch.bool) if truncated is None else torch.tensor(truncated)
    return GroupLogps(policy.clone().requires_grad_(), old, ref, reward, torch.full_like(reward, 7.0), cut)


rewards = st.integers(2, 9).flatmap(
    lambda k: st.lists(st.lists(st.floats(-5, 5), min_size=k, max_size=k), min_size=1, max_size=4)
)


def test_advantages_by_hand():
    """r = (1, 0, 0, 1): siblings of the first have mean 1/3, of the second 2/3."""
    expected = torch.tensor([[2 / 3, -2 / 3, -2 / 3, 2 / 3]], dtype=torch.float64)
    torch.testing.assert_close(leave_one_out(groups([[1, 0, 0, 1]]).reward), expected)


@given(rewards)
def test_advantages_are_scaled_deviations_and_sum_to_zero(values):
    """A_i = k / (k - 1) * (r_i - mean r)."""
    r = torch.tensor(values, dtype=torch.float64)
    k = r.shape[1]
    torch.testing.assert_close(
        leave_one_out(r), k / (k - 1) * (r - r.mean(-1, keepdim=True)), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(
        leave_one_out(r).sum(-1), torch.zeros(len(r), dtype=torch.float64), rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-3])
def test_equal_rewards_give_exactly_zero(value):
    """r - mean(r) would leave about 1e-9 in float32, which Adam scales up to a full step."""
    assert torch.equal(leave_one_out(torch.full((1, 7), value)), torch.zeros(1, 7))


def test_unscorable_completions_are_missing_not_zero():
    """(1, ?, 0): A = (1, missing, -1), as if the group had two completions; weight 2."""
    out = loss(groups([[1, NAN, 0]], policy=[[-2.0, -3.0, -5.0]]), Config())
    torch.testing.assert_close(leave_one_out(groups([[1, NAN, 0]]).reward)[0, [0, 2]].tolist(), [1.0, -1.0])
    assert out.weight == 2.0
    assert out.loss.item() == pytest.approx(-(1 * -2 + -1 * -5) / 2)
    assert out.metrics["unscorable"].item() == pytest.approx(1 / 3)
    assert out.metrics["reward"].item() == pytest.approx(0.5)


@pytest.mark.parametrize("reward", [[[NAN, NAN, NAN]], [[1, NAN, NAN]]])
def test_a_group_without_siblings_teaches_nothing(reward):
    x = groups(reward)
    out = loss(x, Config())
    out.loss.backward()
    assert (out.loss.item(), out.weight) == (0.0, 0.0)
    assert torch.equal(x.policy.grad, torch.zeros_like(x.policy))


def test_gradient_is_minus_the_advantage_over_the_number_of_completions():
    x = groups([[1, 0, 0, 1], [1, 1, NAN, 0]])
    loss(x, Config()).loss.backward()
    expected = leave_one_out(x.reward).nan_to_num(0.0) / -7
    torch.testing.assert_close(x.policy.grad, expected)


def test_kl_lowers_the_reward_before_the_baseline():
    """beta 0.5, log-ratios (2, 0): R = (1 - 1, 0), so both advantages vanish; without KL they are +-1."""
    x = groups([[1, 0]], ref=[[-12.0, -10.0]])
    loss(x, Config(beta=0.5)).loss.backward()
    assert torch.equal(x.policy.grad, torch.zeros_like(x.policy))
    assert loss(x, Config(beta=0.5)).metrics["kl"].item() == pytest.approx(1.0)
    assert "kl" not in loss(x, Config(beta=0.0)).metrics  # a run without it has no reference to measure it by
    x.policy.grad = None
    loss(x, Config(beta=0.0)).loss.backward()
    assert x.policy.grad.tolist() == [[-0.5, 0.5]]


@pytest.mark.parametrize("clip", [None, 0.2])
def test_no_gradient_through_kl_old_or_reward(clip):
    x = groups([[1, 0, 0.5]], old=[[-10.1, -9.9, -10.0]], ref=[[-12.0, -10.0, -11.0]])
    x = replace(x, old=x.old.requires_grad_(), ref=x.ref.requires_grad_())
    loss(x, Config(beta=0.5, clip=clip)).loss.backward()
    assert x.old.grad is None
    assert x.ref.grad is None


def test_on_policy_the_clipped_ratio_has_the_same_gradient():
    plain, ratio = groups([[1, 0, 0, 1], [0, 0, 1, 0]]), groups([[1, 0, 0, 1], [0, 0, 1, 0]])
    loss(plain, Config()).loss.backward()
    loss(ratio, Config(clip=0.2)).loss.backward()
    torch.testing.assert_close(plain.policy.grad, ratio.policy.grad, rtol=1e-14, atol=0)


def test_clip_by_hand():
    """q = (1.5, 0.5, 1.5, 0.5), A = (1, 1, -1, -1): the gain is min(q A, clip(q) A) with clip 0.2.

    Good and too likely: 1.2, flat. Good and unlikely: 0.5, gradient. Bad and likely: -1.5, gradient.
    Bad and already unlikely: min(-0.5, -0.8) = -0.8, flat.
    """
    ratio = [1.5, 0.5, 1.5, 0.5]
    x = groups(
        [[1, 1, 0, 0]], policy=[[math.log(q) - 10 for q in ratio]], old=[[-10.0] * 4], ref=[[-10.0] * 4]
    )
    a = 2 / 3
    out = loss(x, Config(clip=0.2, beta=0))
    out.loss.backward()
    assert out.loss.item() == pytest.approx(-a * (1.2 + 0.5 - 1.5 - 0.8) / 4)
    assert x.policy.grad[0].tolist() == pytest.approx([0.0, -a * 0.5 / 4, a * 1.5 / 4, 0.0])


def test_truncated_completions_kept_masked_or_penalised():
    """r = (1, 0, 1) with the last cut: kept A_1 = 0.5; masked A_1 = 1; a penalty of 0.5 makes it 0.75."""
    x = groups([[1, 0, 1]], truncated=[[False, False, True]])
    for options, first, weight in [
        ({}, 0.5, 3),
        ({"mask_truncated": True}, 1.0, 2),
        ({"truncation_penalty": 0.5}, 0.75, 3),
    ]:
        x.policy.grad = None
        out = loss(x, Config(beta=0.0, **options))
        out.loss.backward()
        assert out.weight == weight
        assert x.policy.grad[0, 0].item() == pytest.approx(-first / weight)
        assert out.metrics["truncated"].item() == pytest.approx(1 / 3)
        assert out.metrics["reward"].item() == pytest.approx(2 / 3)


def test_masking_and_penalising_exclude_each_other():
    with pytest.raises(ValidationError, match="not both"):
        Config(mask_truncated=True, truncation_penalty=0.5)


def test_zero_variance_groups_are_counted_before_the_kl():
    """The second group's rewards tie though its KL differs; in the others fewer than two are known."""
    x = groups([[1, 0, 1], [1, 1, NAN], [NAN, 1, NAN], [NAN] * 3], ref=[[-10.0, -12.0, -14.0]] * 4)
    found = loss(x, Config()).metrics
    assert found["zero_variance"].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert found["too_few_scored"].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert all_equal(x.reward).tolist() == [False, True, False, False]


@pytest.mark.parametrize("method", [rloo, grpo])
def test_masked_truncations_are_no_equal_rewards(method):
    """All answers of a group are cut, and all but one of the other: nothing was compared."""
    x = groups([[1, 0, 1], [1, 0, 1]], truncated=[[True] * 3, [True, True, False]])
    x = GroupTokenLogps(x.policy, x.old, x.ref, x.reward, x.length, x.truncated)
    out = method.loss(x, method.Config(mask_truncated=True))
    assert out.weight == 0.0
    assert out.metrics["zero_variance"].tolist() == [0.0, 0.0]
    assert out.metrics["truncated"].tolist() == pytest.approx([1.0, 2 / 3])


def test_shuffling_completions_within_their_group_changes_nothing():
    torch.manual_seed(0)
    reward, policy = torch.rand(3, 6).tolist(), (-20 * torch.rand(3, 6)).tolist()
    order = torch.stack([torch.randperm(6) for _ in range(3)])
    x = groups(reward, policy)
    y = GroupLogps(**{f: getattr(x, f).detach().gather(1, order) for f in x.__dataclass_fields__})
    torch.testing.assert_close(
        loss(y, Config()).loss, loss(x, Config()).loss.detach(), rtol=1e-13, atol=1e-13
    )


def test_mixing_prompts_in_a_group_is_noticed():
    """A layout fault (k, groups) read as (groups, k) changes the advantages, so this test can fail."""
    easy_and_hard = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert torch.equal(leave_one_out(easy_and_hard), torch.zeros(2, 3))
    wrong = leave_one_out(easy_and_hard.T.reshape(2, 3))
    assert wrong.abs().max() > 0.4


def test_scalar_policy_learns_the_better_arm():
    """Exact expectation on a two-armed bandit: the mean loss gradient over samples is minus that of E[r]."""
    torch.manual_seed(0)
    logit = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    arms = torch.rand(20_000, 4, dtype=torch.float64) < 0.5
    logp = torch.where(arms, torch.nn.functional.logsigmoid(logit), torch.nn.functional.logsigmoid(-logit))
    fixed = logp.detach()
    x = GroupLogps(logp, fixed, fixed, arms.double(), torch.ones_like(fixed), torch.zeros_like(arms))
    loss(x, Config(beta=0.0)).loss.backward()
    # E[r] = sigmoid(logit), derivative 1/4; four standard errors of 80,000 draws are about 0.004
    assert logit.grad.item() == pytest.approx(-0.25, abs=0.004)


def test_a_gain_is_multiplied_by_the_importance_of_its_completion():
    """r = (1, 0): A = (1, -1). Log-probabilities -2 and -5, weights 1/2 and 1/4: -(1/2 · -2 + 1/4 · 5)/2."""
    x = replace(
        groups([[1, 0]], policy=[[-2.0, -5.0]]), importance=torch.tensor([[0.5, 0.25]], dtype=torch.float64)
    )
    out = loss(x, Config(beta=0.0))
    out.loss.backward()
    assert out.loss.item() == pytest.approx(-(0.5 * -2 + 0.25 * 5) / 2)
    assert x.policy.grad.tolist() == [[-0.25, 0.125]]


def test_the_default_is_the_papers_and_clips_lie_below_one():
    assert Config().beta == 0.03
    assert Config(clip=0.999).clip == 0.999
    with pytest.raises(ValidationError, match="less than 1"):
        Config(clip=1.0)
