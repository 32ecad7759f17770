"""Activations are computed again where memory is short or the recipe says so, and nothing else changes."""

import json

import pytest

from boresight.training import activations
from boresight.training.loop import run_steps
from boresight.training.memory import activation_gb, training_state_gb
from tests.tiny import tiny_model
from tests.training.fixtures import make_task


def test_the_estimate_by_hand():
    """10 tokens, 3 layers of width 2 and MLP 5: a layer leaves 16 * 2 + 4 * 5 = 52 numbers a token.

    Kept: 10 * 3 * 52 * 4 bytes = 6,240. Recomputed: every layer's input and one layer's own,
    10 * (6 + 52) * 4 = 2,320.
    A trained parameter has a gradient and two moments, 12 bytes.
    """
    shape = {"layers": 3, "hidden": 2, "intermediate": 5}
    assert activation_gb(10, **shape, recompute=False) == pytest.approx(6240e-9)
    assert activation_gb(10, **shape, recompute=True) == pytest.approx(2320e-9)
    assert training_state_gb(7) == pytest.approx(84e-9)


@pytest.mark.parametrize(
    ("mode", "free", "recompute"),
    [("auto", 100.0, False), ("auto", 1e-6, True), ("keep", 1e-6, False), ("recompute", 100.0, True)],
)
def test_the_choice(mode, free, recompute, tmp_path, monkeypatch):
    monkeypatch.setattr(activations, "available_gb", lambda: free)
    model = tiny_model()
    task = make_task(tmp_path, "dpo", f"train.activations={mode}")
    choice = activations.activation_choice(task.recipe, model, longest=5000)
    assert choice.recompute is recompute
    assert any(getattr(m, "gradient_checkpointing", False) for m in model.modules()) is recompute
    assert ("train.activations says so" in str(choice)) == (mode != "auto")
    # The longest row counts, not only tokens_per_forward = 4096.
    assert activations.activation_choice(task.recipe, tiny_model(), longest=10).kept_gb < choice.kept_gb


@pytest.mark.parametrize("method", ["dpo", "rloo"])
def test_the_same_run_either_way(method, tmp_path):
    """A tiny model's losses agree to rounding."""
    losses = []
    for mode in ("keep", "recompute"):
        task = make_task(
            tmp_path / mode, method, f"train.activations={mode}", "train.steps=3", policy=tiny_model()
        )
        activations.activation_choice(task.recipe, task.policy, longest=10)
        run_steps(task)
        lines = [json.loads(line) for line in (tmp_path / mode / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if line["split"] == "train"])
    assert len(losses[0]) == 3
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
