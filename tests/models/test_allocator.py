"""Freed memory stays in the process, where the next step takes it, until it is released for another model."""

import gc
import json
import subprocess
import sys
import weakref

import pytest
import torch

from boresight.models.kernels import allocator
from boresight.models.kernels.allocator import releasing_memory
from boresight.runs.check import lr_ramp, overfit, rehearsal, rollout_probe

PROGRAM = """
import json, resource, sys
from boresight.models.kernels.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(1 << 20) for _ in range(40)]  # 4 MB each
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps([kept, faults(), faults(), faults()]))
"""


def rounds(setting):
    run = subprocess.run([sys.executable, "-c", PROGRAM, setting], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_the_same_blocks_again_cost_no_page_faults():
    kept, first, *_, last = rounds("keep")
    if not kept:
        pytest.skip("this C library has no mallopt")
    assert last < first / 20
    # glibc's own choice depends on what small block happens to lie at the top of the heap.
    assert rounds("leave")[-1] >= last


RELEASING = """
import json
from pathlib import Path
from boresight.models.kernels.allocator import keep_freed_memory, release_memory
kept = keep_freed_memory()
import torch
def resident():
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])
def held():
    blocks = [torch.ones(1 << 20) for _ in range(40)]  # 4 MB each
before = resident()
held()
between = resident()
release_memory()
print(json.dumps([kept, between - before, resident() - before]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_released_memory_is_free_for_the_system():
    run = subprocess.run([sys.executable, "-c", RELEASING], capture_output=True, text=True, check=True)
    kept, between, after = json.loads(run.stdout)
    if not kept:
        pytest.skip("this C library has no mallopt")
    assert between > 150e6 and after < 15e6


class Cycle:
    """A model that lies in a reference cycle."""

    def __init__(self):
        self.itself = self


def test_a_model_in_a_cycle_leaves_the_gpu_with_the_function_that_loaded_it(monkeypatch):
    """Python's own collector may not come by before the next model is loaded."""
    living, alive_when_emptied = [], []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive_when_emptied.append(living[0]() is not None))

    @releasing_memory()
    def load():
        living.append(weakref.ref(Cycle()))
        return "measured"

    gc.disable()
    try:
        assert load() == "measured"
    finally:
        gc.enable()
    assert living[0]() is None and alive_when_emptied == [False]


@pytest.mark.parametrize(
    ("module", "name", "first"),
    [
        (lr_ramp, "measure_ramp", "kind_of"),
        (rollout_probe, "probe_rollouts", "load_run"),
        (rehearsal, "rehearse", "in_small"),
        (overfit, "overfit", "kind_of"),
    ],
)
def test_what_measures_a_model_before_a_run_releases_its_memory(monkeypatch, module, name, first):
    """Each ends at its first step here."""
    released = []
    monkeypatch.setattr(allocator, "release_memory", lambda: released.append(name))
    monkeypatch.setattr(module, first, lambda *given, **named: 1 / 0)
    asked = [None] * (getattr(module, name).__wrapped__.__code__.co_argcount)
    with pytest.raises(ZeroDivisionError):
        getattr(module, name)(*asked)
    assert released == [name]
