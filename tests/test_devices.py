"""A run uses the device that its recipe names: not the current GPU, and no GPU at all with `cpu`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from boresight.checks.run import machine
from boresight.checks.run.machine import Load
from boresight.core.errors import UserError
from boresight.models.kernels import libraries
from boresight.runs import doctor
from boresight.runs.check import rehearsal
from boresight.runs.environment import environment
from boresight.training.checkpoints import checkpoint, random_state
from boresight.training.distributed import collectives
from boresight.training.memory import available_gb, held_gb, peak_memory_gb
from boresight.training.optimizer.adamw import make_optimizer
from tests.checks import builders as b
from tests.devices import TwoGpus, two_gpus
from tests.tiny import tiny_model, tiny_tokenizer

__all__ = ["two_gpus"]
ROOT = Path(__file__).parents[1] / "src"
CPU, FIRST, SECOND = torch.device("cpu"), torch.device("cuda"), torch.device("cuda:1")
OF_NO_DEVICE = {"is_available", "device_count", "graph_pool_handle", "CUDAGraph", "empty_cache"}
"""Functions of torch.cuda that belong to no single device."""


def calls_without_device(file: Path) -> list[str]:
    """Calls of torch.cuda without arguments, as `lines: name`."""
    return [
        f"{file.name}:{node.lineno}: torch.cuda.{node.func.attr}"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "torch.cuda"
        and node.func.attr not in OF_NO_DEVICE
        and not (node.args or any(keyword.arg == "device" for keyword in node.keywords))
    ]


def test_no_call_of_torch_cuda_is_left_to_the_current_device():
    assert [call for file in sorted(ROOT.rglob("*.py")) for call in calls_without_device(file)] == []


def test_memory_is_that_of_the_device(two_gpus):
    """Blocks that torch's allocator holds and no tensor uses are free."""
    two_gpus.of[0] |= {"info": (1e9, 9e9), "reserved": 2e9, "allocated": 2e9, "peak": 3e9}
    two_gpus.of[1] |= {"info": (1e9, 9e9), "reserved": 6e9, "allocated": 2e9, "peak": 7e9}
    for device, found in ((FIRST, (1.0, 2.0, 3.0)), (SECOND, (5.0, 2.0, 7.0))):
        assert (available_gb(device), held_gb(device), peak_memory_gb(device)) == found
    two_gpus.of.clear()  # nothing of a GPU is read for a run on the CPU
    assert available_gb(CPU) > 0 and held_gb(CPU) > 0 and peak_memory_gb(CPU) > 0


def test_the_generator_of_the_device_is_stored_and_restored(two_gpus):
    two_gpus.of[0]["random"], two_gpus.of[1]["random"] = torch.tensor([0]), torch.tensor([1])
    kept = random_state.states(SECOND)
    assert kept["random.cuda"].item() == 1
    two_gpus.of[1]["random"] = torch.tensor([2])
    random_state.restore(kept, SECOND)
    assert (two_gpus.of[0]["random"].item(), two_gpus.of[1]["random"].item()) == (0, 1)


def test_a_checkpoint_on_the_cpu_leaves_the_gpus_alone(monkeypatch, tmp_path):
    policy = tiny_model()
    gpus = TwoGpus(monkeypatch)
    optimizer = make_optimizer(policy, b.recipe("dpo").optim)
    checkpoint.save_state(tmp_path / "step-1", policy, tiny_tokenizer(), optimizer, {"step": 1})
    assert checkpoint.load_state(tmp_path / "step-1", policy, optimizer)["step"] == 1
    assert all("random" not in gpu for gpu in gpus.of.values())


@pytest.mark.parametrize(
    ("named", "device"),
    [(None, FIRST), ("cuda", FIRST), ("cuda:1", SECOND), ("cpu", CPU), ("cuda:7", CPU)],
)
def test_a_forecast_is_for_the_device_of_the_recipe(two_gpus, monkeypatch, named, device):
    """One that this machine does not have is a finding of its own."""
    asked = []
    monkeypatch.setattr(machine, "available_gb", lambda found: asked.append(found) or 1.0)
    monkeypatch.setattr(machine, "rate", lambda dtype, found: asked.append(found) or 1e12)
    recipe = b.recipe("dpo", *([f"model.device={named}"] if named else []))
    load = Load(recipe, b.QWEN, b.QWEN, row_tokens=500.0, rows=60_000)
    assert load.device == device and machine.memory(load) is not None and load.hours
    assert load.footprint.cuda == (device.type == "cuda") and set(asked) == {device}


def test_a_run_on_the_cpu_of_a_machine_with_gpus_is_advised_on_its_processor(two_gpus, monkeypatch):
    rates = libraries.Rates(110.0, 230.0)
    monkeypatch.setattr(libraries, "measurement", lambda: libraries.Measurement(rates, rates, rates, 460.0))
    monkeypatch.setattr(machine, "rate", lambda dtype, device: 1e11)
    load = Load(b.recipe("dpo", "model.device=cpu"), b.QWEN, b.QWEN, row_tokens=500.0, rows=60_000)
    assert "model.dtype=bfloat16" in machine.duration(load).fix
    gpu = Load(b.recipe("dpo", "model.dtype=float32"), b.QWEN, b.QWEN, row_tokens=500.0, rows=60_000)
    assert "model.dtype=bfloat16" not in machine.duration(gpu).fix


def test_a_rehearsal_asks_the_device_of_the_recipe_for_room(two_gpus, monkeypatch):
    for index, free in enumerate((1e9, 8e9)):
        two_gpus.of[index] |= {"info": (free, 9e9), "reserved": 0, "allocated": 0}
    monkeypatch.setattr(rehearsal, "weights_at_hand", lambda name: True)
    assert rehearsal.why_not(b.recipe("dpo", "model.device=cuda:1"), 400_000_000) is None
    assert "6 GB of memory, and 1 GB are free" in rehearsal.why_not(b.recipe("dpo"), 400_000_000)


def test_the_environment_names_the_gpu_that_was_used(two_gpus):
    assert [environment(name)["gpu"] for name in (None, "cuda", "cuda:1", "cpu")] == [
        *["GPU 0", "GPU 0", "GPU 1"],
        None,
    ]


def test_doctor_counts_the_memory_of_the_first_gpu(two_gpus):
    two_gpus.of[0]["info"], two_gpus.of[1]["info"] = (2.5e9, 9e9), (8e9, 9e9)
    two_gpus.of[0]["reserved"] = two_gpus.of[0]["allocated"] = 0
    assert dict(doctor._machine(environment() | {"processor": "x"}))["memory"].startswith("2.5 GB")


@pytest.mark.parametrize(
    ("named", "processes", "sentence"),
    [
        ("cuda:1", 2, r"^model.device: 'cuda:1' would be the GPU of all 2 processes; leave it out"),
        (None, 3, r"^torchrun: 3 processes on this machine need a GPU each, and it has 2 GPUs"),
        (None, 2, None),
        ("cpu", 3, None),
        ("cuda:1", 1, None),
    ],
)
def test_processes_share_no_gpu(two_gpus, monkeypatch, named, processes, sentence):
    monkeypatch.setattr(collectives, "world", lambda: processes)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    if sentence is None:
        collectives.refuse_shared_gpu(named)
        return
    with pytest.raises(UserError, match=sentence):
        collectives.refuse_shared_gpu(named)
