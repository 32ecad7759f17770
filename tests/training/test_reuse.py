"""Runs whose first updates reuse the outputs of linear layers: results, resuming, memory, and faults."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import boresight
from boresight.config.lora import LoraConfig
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.models.lora import attach
from boresight.models.reference.frozen import LiveReference, frozen_copy
from boresight.models.reuse.store import LinearOutputs
from boresight.training import loop
from boresight.training.choices import read_choices
from boresight.training.logging.logger import Tracker
from boresight.training.loop import accumulate
from boresight.training.rollouts import reuse
from boresight.training.rollouts.reuse import output_bytes, reuse_choice
from boresight.training.rollouts.rollout import GroupRollouts
from boresight.training.rollouts.sampling import policy_sampler
from tests.tiny import tiny_model
from tests.training.fixtures import make_task, random_rows
from tests.training.test_online_run import place, recipe  # noqa: F401
from tests.training.test_rollout import SETTINGS, rollouts


@pytest.fixture(autouse=True)
def narrow_models_too(monkeypatch):
    monkeypatch.setattr(reuse, "NARROWEST", 1)


def adapted():
    config = LoraConfig(r=2, dropout=0, targets="all-linear")
    policy = attach(tiny_model(dtype=torch.float64), config, seed=0).double()
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return policy


def task_of(folder, method="rloo", beta=0.0, policy=None):
    """A task whose policy has moved, with its reference."""
    policy = policy or tiny_model(dtype=torch.float64)
    task = make_task(folder, method, f"method.beta={beta}", "rollout.k=3", rows=4, policy=policy)
    task.reference = LiveReference(frozen_copy(policy), 1000) if beta else None
    task.moved = True
    return task


def sampled(policy, outputs):
    """Groups that `policy` samples, whose rewards differ."""
    sampler = policy_sampler(policy, SETTINGS, (0,), seed=0, outputs=outputs)
    return GroupRollouts(replace(rollouts(policy), sampler=sampler), k=3).batch(0).rows


def stepped(task, rows, outputs):
    """Gradients and measured numbers of the first update on `rows`."""
    task.policy.zero_grad()
    task.outputs = outputs
    gathered = accumulate(task, rows, step=1)
    grads = {n: p.grad.clone() for n, p in task.policy.named_parameters() if p.grad is not None}
    return grads, gathered.summary()


def assert_same_step(got, expected):
    (grads, numbers), (expected_grads, expected_numbers) = got, expected
    assert numbers.keys() == expected_numbers.keys()
    for name, value in expected_numbers.items():
        assert numbers[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name
    assert grads.keys() == expected_grads.keys() and any(g.abs().max() > 0 for g in grads.values())
    for name, grad in expected_grads.items():
        torch.testing.assert_close(grads[name], grad, rtol=1e-12, atol=1e-12)


class Watched(LinearOutputs):
    """Counts forwards that found all their tokens, and others."""

    found = missed = 0

    def slots_of(self, batch):
        slots = super().slots_of(batch)
        self.found, self.missed = self.found + (slots is not None), self.missed + (slots is None)
        return slots


@pytest.mark.parametrize("policy_of", [lambda: tiny_model(dtype=torch.float64), adapted])
@pytest.mark.parametrize(("method", "beta"), [("rloo", 0), ("rloo", 0.1), ("grpo", 0), ("grpo", 0.1)])
def test_losses_and_gradients_are_those_of_the_products(tmp_path, method, beta, policy_of):
    task, outputs = task_of(tmp_path, method, beta, policy_of()), Watched(500)
    rows = sampled(task.policy, outputs)
    assert len(outputs) > 20
    if task.reference is not None:
        task.reference(rows)  # a model is tried before its first forward of rows
    reused = stepped(task, rows, outputs)
    assert outputs.found >= 2 and not outputs.missed and len(outputs) == 0
    assert_same_step(reused, stepped(task, rows, None))


def test_outputs_of_another_layer_are_not_used(tmp_path):
    """The check of one completion finds what the log-probabilities do not show, and prints it."""
    task, outputs, said = task_of(tmp_path), LinearOutputs(500), io.StringIO()
    task.tracker = Tracker(tmp_path, 2, Console(file=said, width=200))
    rows = sampled(task.policy, outputs)
    layer = task.policy.model.layers[0]
    with torch.inference_mode():
        outputs.buffer(layer.mlp.gate_proj).copy_(outputs.buffer(layer.mlp.up_proj))
    poisoned = stepped(task, rows, outputs)
    assert "step 1: the outputs of linear layers that sampling kept are off by" in said.getvalue()
    assert_same_step(poisoned, stepped(task, rows, None))


def likelier(row):
    """The row as a sampler would have drawn it that gives its completions 0.1 nats less."""
    drawn = (replace(c, sampled_logp=c.sampled_logp - 0.1) for c in row.completions)
    return replace(row, completions=tuple(drawn))


def test_the_sampler_is_compared_with_a_forward_that_reuses_nothing(tmp_path):
    """Of answers that were drawn with other log-probabilities the forward that reuses would say the same."""
    task, outputs = task_of(tmp_path), LinearOutputs(500)
    rows = [likelier(row) for row in sampled(task.policy, outputs)]
    with pytest.raises(UserError, match="step 1: sampler and trainer differ by"):
        stepped(task, rows, outputs)


def weights_of(run):
    return load_file(run / "model/model.safetensors")


def lines_of(run):
    timing = {"seconds", "tokens_per_second", "peak_memory_gb"}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in timing} for line in lines if line["split"] == "train"]


def length(prompts, completions, rows):
    return [float(len(text) % 5) for text in completions]


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_a_resumed_run_is_the_uninterrupted_one(place, monkeypatch, method):  # noqa: F811
    """To the bit, with the choice that it began with, whatever memory is free then."""
    made = recipe(method, {"function": f"{__name__}:length"})
    made["train"] |= {"steps": 3, "save_every": 1}
    boresight.train(made, run="whole", quiet=True)
    assert read_choices(place / "whole/choices.json").reuse is True
    step = loop.take_step

    def halting(task, optimizer, index, rate):
        if index == 2:
            raise RuntimeError("killed")
        return step(task, optimizer, index, rate)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(loop, "take_step", halting)
        boresight.train(made, run="cut", quiet=True)
    monkeypatch.setattr(reuse, "available_gb", lambda device: 0.0)
    boresight.train(made, run="cut", resume=True, quiet=True)
    assert read_choices(place / "cut/choices.json").reuse is True
    assert lines_of(place / "cut") == lines_of(place / "whole")
    cut, whole = weights_of(place / "cut"), weights_of(place / "whole")
    assert all(torch.equal(cut[name], whole[name]) for name in whole)
    boresight.train(made, run="computed", quiet=True)
    assert read_choices(place / "computed/choices.json").reuse is False
    for ours, theirs in zip(lines_of(place / "whole"), lines_of(place / "computed"), strict=True):
        for name in theirs.keys() - {"split"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-3), name


def choice(method="rloo", policy=None, free=1.0, recompute=False, earlier=None, **settings):
    raw = {
        "method": {"name": method},
        "data": {"train": "none"},
        "train": {"batch": 2},
        "optim": {"lr": 1e-3},
    }
    raw |= {"rollout": {"k": 3, "max_new_tokens": 5}, "model": {"device": "cpu"}} | settings
    rows = random_rows(3, 1)
    made = reuse_choice(Recipe.parse(raw), policy or tiny_model(), rows, recompute=recompute, earlier=earlier)
    return made, sorted(len(row.prompt) for row in rows)


def test_the_choice_by_hand(monkeypatch):
    """Two prompts as long as the longest, three answers each, of whose tokens four are put into the model."""
    config = tiny_model().config
    kv = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    each = 2 * config.hidden_size + 2 * kv + 2 * config.intermediate_size + config.hidden_size
    assert output_bytes(tiny_model()) == 4 * config.num_hidden_layers * each
    monkeypatch.setattr(reuse, "available_gb", lambda device: 1.0)
    found, lengths = choice()
    assert found.reuse and found.tokens == 2 * lengths[-1] + 2 * 3 * 4
    assert found.gb == pytest.approx(found.tokens * 4 * config.num_hidden_layers * each / 1e9)
    assert "reuses the outputs of linear layers" in str(found) and "1.0 GB are free" in str(found)
    monkeypatch.setattr(reuse, "available_gb", lambda device: 1e-5)
    assert not choice()[0].reuse and choice(earlier=True)[0].reuse
    monkeypatch.setattr(reuse, "available_gb", lambda device: float("inf"))  # as where it cannot be read
    assert not choice()[0].reuse and "does not reuse" in str(choice()[0])


def test_where_nothing_can_be_reused(monkeypatch):
    monkeypatch.setattr(reuse, "available_gb", lambda device: 1.0)
    assert choice("grpo")[0] is not None
    assert choice("xpo")[0] is choice("online_dpo")[0] is choice("dpo")[0] is None
    assert choice(recompute=True)[0] is None
    assert choice(policy=tiny_model(dtype=torch.bfloat16))[0] is None
    served = {"backend": "vllm", "base_url": "http://127.0.0.1:1/v1", "shared_folder": "x"}
    assert choice(rollout=served)[0] is None
    dropping = tiny_model(attention_dropout=0.1).train()
    assert choice(policy=dropping)[0] is None
    monkeypatch.setattr(reuse, "NARROWEST", 512)
    assert choice()[0] is None


def test_a_batch_that_has_a_prompt_twice(place):  # noqa: F811
    """Eight prompts in batches of twelve."""
    made = recipe("rloo", {"function": f"{__name__}:length"})
    made["train"] |= {"batch": 12, "steps": 2}
    boresight.train(made, run="run", quiet=True)
    assert read_choices(place / "run/choices.json").reuse is True
    assert len(lines_of(place / "run")) == 2
