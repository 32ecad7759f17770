"""The GPU of a Mac has no float64, and takes the padded layout. torch's `meta` device stands in for it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from boresight.core.errors import UserError
from boresight.models import precision
from boresight.models.load import device_called
from boresight.models.packed.plan import packed_plan
from boresight.models.sampler.trial import samples_with_cache
from boresight.training.loop import accumulate
from tests.tiny import tiny_model
from tests.training.fixtures import random_rows
from tests.training.test_waits import LM_METHODS, no_autocast_on_meta, task_without_numbers  # noqa: F401


class NoFloat64(TorchDispatchMode):
    """Raises where an operation returns float64 on the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                assert tensor.dtype != torch.float64, f"{func} returns float64"
        return out


@pytest.fixture
def meta_is_mps(monkeypatch):
    for module in ("packed.plan", "sampler.trial", "sampler.plain"):
        monkeypatch.setattr(f"boresight.models.{module}.EXPERIMENTAL", {"meta"})


@pytest.mark.parametrize("method", LM_METHODS)
def test_a_step_has_no_float64(tmp_path, method, monkeypatch):
    """In the packed layout, since the padded one reads numbers and `meta` has none."""
    monkeypatch.setattr(precision, "EXPERIMENTAL", {"meta"})
    task = task_without_numbers(tmp_path, method, "train.tokens_per_forward=80")
    with NoFloat64():
        accumulate(task, task.batches.batch(0).rows, step=1)
    assert all(p.grad is not None for p in task.policy.parameters())


def test_float64_is_seen(tmp_path):
    task = task_without_numbers(tmp_path, "dpo")
    with pytest.raises(AssertionError, match="returns float64"), NoFloat64():
        accumulate(task, task.batches.batch(0).rows, step=1)


def test_samples_without_a_cache(meta_is_mps):
    assert not samples_with_cache(tiny_model().to("meta"), [])
    assert isinstance(packed_plan(tiny_model().to("meta"), random_rows(1, 1)), str)


def test_a_machine_without_one():
    with pytest.raises(UserError, match="'mps' is the GPU of a Mac, and torch sees none; use cpu"):
        device_called("mps")
