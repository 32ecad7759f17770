"""Freed memory stays: a second round of the same blocks costs no page faults."""

import json
import subprocess
import sys

import pytest

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
