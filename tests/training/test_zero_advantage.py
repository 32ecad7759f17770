"""Groups whose samples earned the same are not run, and nothing of the step changes by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from boresight.models.packed.logprobs import completion_logprobs
from boresight.training.loop import accumulate
from boresight.training.metrics import Gathered
from boresight.training.rollouts import zero_advantage
from tests.training.fixtures import make_task, random_rows

NAN = float("nan")
REWARDS = [(1, 0, 0, 1), (1, 1, 1, 1), (0, 0, 0, 0), (0, 1, NAN, 0), (NAN, 1, NAN, NAN), (0.5, 0.5, 0.5, NAN)]
"""Groups 0 and 3 have somebody to learn from; one scorable sample alone has no baseline."""


def sampled(policy, rewards):
    """Rows as the policy would have sampled them just now, with these rewards."""
    rows = random_rows(len(rewards), 4)
    with torch.no_grad():
        logps = completion_logprobs(policy, rows).sums.tolist()
    return [
        replace(
            row,
            scores=scores,
            completions=tuple(
                replace(c, sampled_logp=value) for c, value in zip(row.completions, values, strict=True)
            ),
        )
        for row, scores, values in zip(rows, rewards, logps, strict=True)
    ]


def stepped(task, rows):
    """Gradients, and what was gathered, of one batch."""
    task.policy.zero_grad()
    gathered = accumulate(task, rows, step=0)
    return {n: p.grad.clone() for n, p in task.policy.named_parameters() if p.grad is not None}, gathered


@pytest.mark.parametrize(
    "settings", [(), ("method.mask_truncated=true",), ("method.clip=0.2", "rollout.updates=2")]
)
def test_gradients_weights_and_metrics_are_those_of_all_groups(tmp_path, monkeypatch, settings):
    task = make_task(tmp_path, "rloo", "method.beta=0", *settings, dtype=torch.float64)
    task.reference = None
    rows = sampled(task.policy, REWARDS)
    grads, gathered = stepped(task, rows)
    monkeypatch.setattr(
        zero_advantage, "skip_zero_advantage", lambda kind, method, reference, rows, cfg, gathered: rows
    )
    all_grads, all_gathered = stepped(task, rows)
    assert grads.keys() == all_grads.keys() and any(g.abs().max() > 0 for g in grads.values())
    for name, grad in all_grads.items():
        torch.testing.assert_close(grads[name], grad, rtol=1e-9, atol=1e-12)
    assert gathered.weight == all_gathered.weight and sorted(gathered.ids) == sorted(all_gathered.ids)
    for name, value in all_gathered.summary().items():
        assert gathered.summary()[name] == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True), name


def without_zero_advantage(task, rows):
    method = task.recipe.method
    return zero_advantage.skip_zero_advantage(
        task.kind, task.method, task.current_reference, rows, method, Gathered()
    )


def run_of(task, rewards):
    """Places of the groups that the model is run on."""
    rows = sampled(task.policy, rewards)
    kept = without_zero_advantage(task, rows)
    return [rows.index(row) for row in kept]


def test_only_groups_with_an_advantage_are_run(tmp_path):
    task = make_task(tmp_path, "rloo", "method.beta=0")
    task.reference = None
    assert run_of(task, REWARDS) == [0, 3]


def test_one_group_is_run_where_none_has_an_advantage(tmp_path):
    """So that the optimiser meets gradients of zero, and not none."""
    task = make_task(tmp_path, "rloo", "method.beta=0")
    task.reference = None
    assert run_of(task, [(1, 1, 1, 1)] * 3) == [0]


def test_a_penalty_on_the_way_to_the_reference_runs_them_all(tmp_path):
    task = make_task(tmp_path, "rloo", "method.beta=0.1")
    task.moved = True
    assert run_of(task, REWARDS) == [0, 1, 2, 3, 4, 5]


def test_before_the_first_update_there_is_no_way_to_the_reference(tmp_path):
    task = make_task(tmp_path, "rloo", "method.beta=0.1")
    assert run_of(task, REWARDS) == [0, 3]


def test_text_that_the_policy_did_not_sample_runs_them_all(tmp_path):
    task = make_task(tmp_path, "rloo", "method.beta=0")
    task.reference = None
    rows = random_rows(6, 4)
    assert without_zero_advantage(task, rows) is rows
