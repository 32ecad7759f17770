"""A step on a GPU, in bfloat16: it learns, starts where its reference is, waits for nothing, and resumes.

Without a GPU the same tests run on the CPU, where they show that they are right themselves.
"""

import json

import pytest
import torch

from boresight import methods
from boresight.models.eval_mode import arithmetic
from boresight.training.checkpoints.checkpoint import load_state, save_state
from boresight.training.forward import INPUT_KINDS
from boresight.training.loop import accumulate, run_steps
from boresight.training.optimizer.adamw import make_optimizer
from tests.devices import WIDE, on_each_device
from tests.models.plain_varlen import stand_in_for_flash
from tests.tiny import tiny_model
from tests.training.fixtures import make_task, reference_of

LM_METHODS = [name for name in methods.names() if INPUT_KINDS[methods.get(name).Input].head == "lm"]


def task_on(device, run, method, *settings):
    """A task in bfloat16 whose reference was computed in bfloat16, as `boresight train` does it."""
    policy = tiny_model(**WIDE | {"intermediate_size": 96}).to(device)
    task = make_task(run, method, "model.dtype=bfloat16", "train.batch=8", *settings, policy=policy)
    if task.reference is not None:
        with arithmetic(policy, "bfloat16", kernels=task.recipe.model.kernels):
            task.reference = reference_of(policy, task.batches.rows, task.recipe)
    return task


def curve(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["split"] == "train"]


@on_each_device
@pytest.mark.parametrize("kernels", ["proven", "fast"])
def test_dpo_in_bfloat16_starts_at_ln_2_and_learns(tmp_path, device, kernels, monkeypatch):
    """0.6931 at the start to 1 %, which is what the rounding of eight bits leaves of it."""
    if device == "cpu":
        stand_in_for_flash(monkeypatch)
    settings = ("train.steps=30", "optim.lr=0.003", f"model.kernels={kernels}")
    task = task_on(device, tmp_path, "dpo", *settings)
    assert task.policy.device.type == device
    run_steps(task)
    losses = curve(tmp_path)
    assert losses[0] == pytest.approx(0.6931, abs=0.01)
    assert losses[-1] < 0.5


@on_each_device
@pytest.mark.parametrize("method", LM_METHODS)
def test_bfloat16_gradients_point_where_float32_ones_do(tmp_path, device, method):
    """Cosine above 0.98 over all parameters together; they are float32 either way."""
    found = []
    for dtype in ("float32", "bfloat16"):
        task = task_on(device, tmp_path / dtype, method, "train.steps=2")
        task.recipe = task.recipe.model_copy(
            update={"model": task.recipe.model.model_copy(update={"dtype": dtype})}
        )
        accumulate(task, task.batches.batch(0).rows, step=1)
        grads = [p.grad for p in task.policy.parameters()]
        assert {g.dtype for g in grads} == {torch.float32}
        found.append(torch.cat([g.flatten() for g in grads]))
    assert torch.cosine_similarity(*found, dim=0) > 0.98


@on_each_device
def test_a_checkpoint_goes_on_on_the_same_device(tmp_path, device):
    """Fused AdamW keeps its step count beside the weights: a resumed one must find it there."""
    task = task_on(device, tmp_path, "dpo", "train.steps=4")
    optimizer = make_optimizer(task.policy, task.recipe.optim)
    accumulate(task, task.batches.batch(0).rows, step=1)
    optimizer.step()
    save_state(tmp_path / "step-1", task.policy, task.tokenizer, optimizer, {"step": 1})
    again = make_optimizer(task.policy, task.recipe.optim)
    assert load_state(tmp_path / "step-1", task.policy, again)["step"] == 1
    for state in again.state.values():
        assert {value.device.type for value in state.values()} == {device}
    again.step()
    assert all(state["step"] == 2 for state in again.state.values())


@pytest.mark.gpu
@pytest.mark.parametrize(("method", "kernels"), [*((name, "proven") for name in LM_METHODS), ("dpo", "fast")])
def test_cuda_is_not_waited_for_between_the_first_and_the_last_micro_batch(tmp_path, method, kernels):
    """torch itself reports every operation that would wait."""
    settings = ("train.steps=2", "train.tokens_per_forward=80", f"model.kernels={kernels}")
    task = task_on("cuda", tmp_path, method, *settings)
    accumulate(task, task.batches.batch(0).rows, step=1)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        gathered = accumulate(task, task.batches.batch(0).rows, step=1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert gathered.weight > 0
