"""Adam's moments in 8 bits: refused in one sentence without the library; the rest where it is installed."""

import json
import sys

import pytest
import torch

from boresight.core.errors import UserError
from boresight.training.loop import run_steps
from boresight.training.optimizer.adamw import has_moved, make_optimizer
from tests.tiny import tiny_model
from tests.training.fixtures import make_task

SETTINGS = ("optim.states=8bit", "train.steps=4", "train.save_every=2")


def big():
    """A model with matrices of more than 4,096 weights; the moments of smaller ones stay float32."""
    return tiny_model(hidden_size=64, intermediate_size=128)


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["split"] == "train"]


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    task = make_task(tmp_path, "sft", *SETTINGS)
    with pytest.raises(UserError, match=r"optim\.states: 8bit needs bitsandbytes; pip install"):
        make_optimizer(task.policy, task.recipe.optim)


def test_it_learns_what_float32_moments_learn(tmp_path):
    pytest.importorskip("bitsandbytes")
    run_steps(make_task(tmp_path / "small", "sft", *SETTINGS, policy=big()))
    run_steps(make_task(tmp_path / "plain", "sft", "train.steps=4", policy=big()))
    assert losses(tmp_path / "small") == pytest.approx(losses(tmp_path / "plain"), abs=2e-2)
    assert losses(tmp_path / "small")[-1] < losses(tmp_path / "small")[0]


def test_two_bytes_per_weight(tmp_path):
    pytest.importorskip("bitsandbytes")
    task = make_task(tmp_path, "sft", *SETTINGS, policy=big())
    optimizer = make_optimizer(task.policy, task.recipe.optim)
    assert not has_moved(optimizer)
    for parameter in task.policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert has_moved(optimizer)
    state = optimizer.state[task.policy.lm_head.weight]
    stored = sum(v.nbytes for k, v in state.items() if torch.is_tensor(v) and "qmap" not in k)
    assert stored == pytest.approx((2 + 8 / 256) * task.policy.lm_head.weight.numel(), rel=0.01)


def test_a_resumed_run_is_the_same_run(tmp_path):
    """Bit by bit: codes, scales, tables and the count of updates are in the checkpoint."""
    pytest.importorskip("bitsandbytes")
    task = make_task(tmp_path, "sft", *SETTINGS, policy=big())
    run_steps(task)
    again = make_task(tmp_path, "sft", *SETTINGS, policy=big())
    run_steps(again, tmp_path / "checkpoints" / "step-2")
    for one, other in zip(task.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(one, other)
