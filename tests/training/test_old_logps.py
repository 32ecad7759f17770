"""Ratios and the KL of sampled groups compare policies, not two ways to compute one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from boresight.core.errors import UserError
from boresight.models.eval_mode import arithmetic
from boresight.models.reference.frozen import LiveReference
from boresight.training.loop import Batch, accumulate, run_steps
from boresight.training.optimizer.adamw import has_moved, make_optimizer
from tests.tiny import tiny_model
from tests.training.fixtures import make_task
from tests.training.test_zero_advantage import sampled

MIXED = [(1, 0, 0, 1), (0, 1, 0, 0)]
EQUAL = [(1, 1, 1, 1), (0, 0, 0, 0)]
HALF = ("model.dtype=bfloat16", "method.clip=0.02", "rollout.updates=2", "method.beta=0.1")


def rloo_task(folder, rewards, *settings, method="rloo"):
    """RLOO or another method of groups on rows as the policy sampled them, with a live reference."""
    policy = tiny_model(initializer_range=0.3)
    task = make_task(folder, method, "train.steps=4", *settings, policy=policy)
    start = tiny_model(initializer_range=0.3)
    start.load_state_dict(policy.state_dict())
    task.reference = LiveReference(start.eval(), 10_000)
    rows = sampled(policy, rewards)
    task.batches = SimpleNamespace(steps=4, batch=lambda step: Batch(rows))
    return task, rows


def inputs_of(task, monkeypatch):
    """Every input that the loss is given."""
    seen, loss = [], task.method.loss
    method = SimpleNamespace(**{name: getattr(task.method, name) for name in ("Input", "Config")})
    method.loss = lambda x, cfg: (seen.append(x), loss(x, cfg))[1]
    monkeypatch.setattr(task, "method", method)
    return seen


def test_in_bfloat16_fresh_samples_have_a_ratio_of_one_and_no_kl(tmp_path):
    task, rows = rloo_task(tmp_path, MIXED, *HALF)
    task.moved = True  # so that the reference is run
    with arithmetic(task.policy, "bfloat16"):
        x = task.build(rows)
    assert (x.sampled - x.policy).abs().max() > 1e-3  # what the ratio would have been taken for
    assert torch.equal(x.old, x.policy.detach())
    assert torch.equal(x.ref, x.old)


def test_later_updates_compare_with_the_first(tmp_path, monkeypatch):
    task, rows = rloo_task(tmp_path, MIXED, *HALF)
    seen = inputs_of(task, monkeypatch)
    accumulate(task, rows, step=0)
    first = {tuple(x.sampled[:, 0].tolist()): x.policy.detach() for x in seen}
    with torch.no_grad():
        for parameter in task.policy.parameters():
            parameter.mul_(1.01)
    seen.clear()
    accumulate(task, rows, step=1)
    for x in seen:
        assert torch.equal(x.old, first[tuple(x.sampled[:, 0].tolist())])
        assert not torch.equal(x.old, x.policy)
    accumulate(task, rows, step=2)  # the next rollout
    assert torch.equal(seen[-1].old, seen[-1].policy.detach())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_equal_rewards_change_nothing_before_anything_was_learned(tmp_path, dtype):
    """A KL of rounding would make a gradient of some 1e-6, and Adam a full step of it."""
    settings = (f"model.dtype={dtype}", "method.beta=0.1", "optim.weight_decay=0.1", "train.batch=2")
    task, _ = rloo_task(tmp_path, EQUAL, *settings)
    exact = task.reference
    task.reference = lambda rows: exact(rows) * (1 + 1e-7 * torch.arange(4.0))
    before = {name: p.detach().clone() for name, p in task.policy.named_parameters()}
    run_steps(task)
    assert not task.moved
    for name, parameter in task.policy.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_a_policy_that_has_moved_is_pulled_back_whatever_its_rewards(tmp_path):
    """The KL is real then, and equal rewards leave it as the only difference."""
    task, rows = rloo_task(tmp_path, EQUAL, "method.beta=0.1")
    with torch.no_grad():
        for parameter in task.policy.parameters():
            parameter.mul_(1.05)
    task.moved = True
    gathered = accumulate(task, rows, step=1)
    assert gathered.summary()["advantage"] > 1e-4
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in task.policy.parameters())


def test_a_reference_that_is_another_model_is_refused_before_the_first_step(tmp_path):
    task, _ = rloo_task(tmp_path, MIXED, "method.beta=0.1", "train.batch=2")
    with torch.no_grad():
        task.policy.lm_head.weight.mul_(1.1)
    rows = sampled(task.policy, MIXED)
    task.batches = SimpleNamespace(steps=4, batch=lambda step: Batch(rows))
    with pytest.raises(UserError, match="the policy is not the reference before training"):
        run_steps(task)


def test_a_resumed_optimizer_knows_whether_there_was_a_gradient(tmp_path):
    task, _ = rloo_task(tmp_path, MIXED)
    optimizer = make_optimizer(task.policy, task.recipe.optim)
    assert not has_moved(optimizer)
    for parameter in task.policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert not has_moved(optimizer)
    next(task.policy.parameters()).grad[0] = 1.0
    optimizer.step()
    assert has_moved(optimizer)


def test_a_group_without_a_sampler_is_compared_with_itself(tmp_path):
    """Text from elsewhere: the sampler's log-probabilities are not known, so the policy's own stand in."""
    task, rows = rloo_task(tmp_path, MIXED)
    given = [
        replace(r, completions=tuple(replace(c, sampled_logp=None) for c in r.completions)) for r in rows
    ]
    x = task.build(given)
    assert torch.equal(x.sampled, x.old) and torch.equal(x.old, x.policy.detach())


def test_a_prompt_that_a_batch_holds_twice_keeps_both_of_its_groups_apart(tmp_path, monkeypatch):
    """A batch that runs across the end of an epoch, or is larger than the data."""
    task, rows = rloo_task(tmp_path, MIXED, *HALF)
    rows = [replace(row, id="same") for row in rows]
    seen = inputs_of(task, monkeypatch)
    accumulate(task, rows, step=0)
    first = {tuple(row) for x in seen for row in x.policy.tolist()}
    seen.clear()
    accumulate(task, rows, step=1)
    assert len(first) == 2
    assert {tuple(row) for x in seen for row in x.old.tolist()} == first


def test_groups_of_equal_rewards_keep_the_first_update_as_old_policy(tmp_path, monkeypatch):
    """At the second update their KL is still that of the policy that sampled them: zero."""
    task, rows = rloo_task(
        tmp_path, [*MIXED, *EQUAL], "method.beta=0.1", "method.clip=0.2", "rollout.updates=2"
    )
    accumulate(task, rows, step=0)
    task.moved = True
    with torch.no_grad():
        for parameter in task.policy.parameters():
            parameter.mul_(1.01)
    seen = inputs_of(task, monkeypatch)
    accumulate(task, rows, step=1)
    assert sum(len(x.old) for x in seen) == 4
    for x in seen:
        torch.testing.assert_close(x.old, x.ref, rtol=0, atol=1e-3)
        assert (x.policy - x.old).abs().max() > 0.01


def test_later_updates_compare_every_token_with_the_first(tmp_path, monkeypatch):
    """Before the first update no ratio is clipped; with every weight changed some are."""
    task, rows = rloo_task(tmp_path, MIXED, "method.clip=0.02", "rollout.updates=2", method="grpo")
    task.moved = True
    seen = inputs_of(task, monkeypatch)
    gathered = accumulate(task, rows, step=0)
    assert gathered.summary()["clipped_ratio"] == 0.0
    first = {tuple(x.sampled[:, 0].tolist()): x.policy_tokens.detach() for x in seen}
    with torch.no_grad():
        for parameter in task.policy.parameters():
            parameter.mul_(1.01)
    seen.clear()
    gathered = accumulate(task, rows, step=1)
    assert 0 < gathered.summary()["clipped_ratio"] < 1
    for x in seen:
        assert torch.equal(x.old_tokens, first[tuple(x.sampled[:, 0].tolist())])
        torch.testing.assert_close(x.old_tokens.sum(-1), x.old, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(x.ref_tokens.sum(-1), x.ref, rtol=1e-5, atol=1e-4)
        assert (x.policy_tokens - x.old_tokens).abs().max() > 1e-3
