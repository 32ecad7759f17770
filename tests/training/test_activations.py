"""Activations are computed again where memory is short or the recipe says so, and nothing else changes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from boresight.core.errors import UserError
from boresight.training import activations
from boresight.training.loop import run_steps
from tests.tiny import tiny_model
from tests.training.fixtures import make_task, random_rows


def test_the_largest_forward_is_a_full_one_or_a_whole_batch(tmp_path):
    """Rows of 10, 20, .. tokens; a row is never split; answers that will be sampled count in full."""
    rows = [replace(row, prompt=np.zeros(8, np.int32)) for row in random_rows(4, 2)]
    most = max(row.tokens for row in rows)
    task = make_task(tmp_path, "dpo", "train.batch=2")
    two = sum(sorted(row.tokens for row in rows)[-2:])
    assert activations.largest_forward(task.recipe, task.kind, rows, 1024) == two < 1024
    assert activations.largest_forward(task.recipe, task.kind, rows, most - 1) == most
    online = make_task(tmp_path, "rloo", "rollout.k=4", "rollout.max_new_tokens=16", "train.batch=1")
    prompts = [replace(row, completions=()) for row in rows]
    assert activations.largest_forward(online.recipe, online.kind, prompts, 1024) == 8 + 4 * 16
    assert activations.largest_forward(task.recipe, task.kind, [], 1024) == 1024


@pytest.mark.parametrize(
    ("mode", "free", "recompute"),
    [("auto", 100.0, False), ("auto", 1e-6, True), ("keep", 1e-6, False), ("recompute", 100.0, True)],
)
def test_the_choice(mode, free, recompute, tmp_path, monkeypatch):
    monkeypatch.setattr(activations, "available_gb", lambda device: free)
    model = tiny_model()
    task = make_task(tmp_path, "dpo", f"train.activations={mode}")
    choice = activations.activation_choice(task.recipe, model, tokens=5000)
    assert choice.recompute is recompute
    assert any(getattr(m, "gradient_checkpointing", False) for m in model.modules()) is recompute
    assert ("set by train.activations" in str(choice)) == (mode != "auto")
    assert activations.activation_choice(task.recipe, tiny_model(), tokens=10).kept_gb < choice.kept_gb


def test_a_model_that_cannot_recompute_is_refused(tmp_path):
    model = tiny_model()
    model.supports_gradient_checkpointing = False
    task = make_task(tmp_path, "dpo", "train.activations=recompute")
    with pytest.raises(UserError, match=r"train\.activations: LlamaForCausalLM cannot recompute its"):
        activations.activation_choice(task.recipe, model, tokens=10)


@pytest.mark.parametrize(
    ("method", "settings", "copied"),
    [
        ("rloo", ["method.beta=0.1"], True),
        ("rloo", ["method.beta=0"], False),
        ("rloo", ["method.beta=0.1", "model.lora={r: 2, targets: [q_proj]}"], False),
        ("dpo", [], False),
    ],
)
def test_the_copy_for_the_reference_of_sampled_answers_counts(method, settings, copied, tmp_path):
    """It is made after the choice: 4 bytes for every weight."""
    recipe, policy = make_task(tmp_path, method, *settings).recipe, tiny_model()
    footprint = activations.footprint_of(recipe, policy)
    size = 4e-9 * sum(p.numel() for p in policy.parameters())
    assert footprint.frozen_gb == pytest.approx(size if copied else 0.0)
    choice = activations.activation_choice(recipe, policy, tokens=5000)
    rest = footprint.state_gb + footprint.activations_gb(5000, recompute=False)
    assert choice.kept_gb == pytest.approx(rest + copied * size)


@pytest.mark.parametrize("method", ["dpo", "rloo"])
def test_the_same_run_either_way(method, tmp_path):
    """A tiny model's losses agree to rounding."""
    losses = []
    for mode in ("keep", "recompute"):
        task = make_task(
            tmp_path / mode, method, f"train.activations={mode}", "train.steps=3", policy=tiny_model()
        )
        activations.activation_choice(task.recipe, task.policy, tokens=10)
        run_steps(task)
        lines = [json.loads(line) for line in (tmp_path / mode / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if line["split"] == "train"])
    assert len(losses[0]) == 3
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
