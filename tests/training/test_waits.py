"""Within a step the host must not wait for the device.

No GPU is needed to see it: on torch's `meta` device, whose tensors have shapes and no numbers, whatever asks
for a number fails (`.item()`, `.tolist()`, `bool(...)`, `.cpu()`, a boolean index).
"""

import pytest
import torch

from boresight import methods
from boresight.models.reference.frozen import LiveReference
from boresight.models.sharding import find_plan_now
from boresight.training.forward import INPUT_KINDS
from boresight.training.loop import accumulate
from tests.training.fixtures import make_task

LM_METHODS = [name for name in methods.names() if INPUT_KINDS[methods.get(name).Input].head == "lm"]


@pytest.fixture(autouse=True)
def no_autocast_on_meta(monkeypatch):
    """Asked about a device that it does not know, torch raises."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *device: False)


def task_without_numbers(tmp_path, method, *settings):
    task = make_task(tmp_path, method, "train.batch=8", "train.steps=2", *settings)
    find_plan_now(task.policy)  # once per model, before the first step
    task.policy.to("meta")
    if isinstance(task.reference, LiveReference):
        task.reference.model.to("meta")
    return task


@pytest.mark.parametrize("method", LM_METHODS)
def test_forward_and_backward_of_a_step_read_no_number(tmp_path, method):
    task = task_without_numbers(tmp_path, method, "train.tokens_per_forward=80")
    gathered = accumulate(task, task.batches.batch(0).rows, step=1)
    assert all(p.grad is not None for p in task.policy.parameters())
    assert len(gathered.ids) == 8


def test_what_waits_is_seen(tmp_path):
    """Reading the loss in the middle, as logging per micro-batch would, fails here."""
    task = task_without_numbers(tmp_path, "dpo")
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        _ = accumulate(task, task.batches.batch(0).rows, step=1).weight
