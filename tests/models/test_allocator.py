"""Freed memory stays: the second large block costs no page faults."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, sys
from boresight.models.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps([kept, faults(), faults()]))
"""


def second_block(setting):
    run = subprocess.run([sys.executable, "-c", PROGRAM, setting], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_a_block_of_64_mb_is_reused_without_page_faults():
    kept, first, second = second_block("keep")
    if not kept:
        pytest.skip("this C library has no mallopt")
    assert second < first / 20
    assert second_block("leave")[2] > 20 * max(second, 1)
