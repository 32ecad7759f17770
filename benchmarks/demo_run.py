"""Train by the demo's recipe in a process of its own, without evaluations, and time the whole process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "demo.yaml"
WITHOUT_EVALUATIONS = {
    "train.eval_every": "null",
    "data.eval": "null",
    "data.eval_rows": 0,
    "evaluate.samples": 0,
    "check.probes": 0,
}
"""Training alone is compared, so that nothing is measured before, during or after it."""


def demo_command(run: Path, changes: dict[str, object]) -> list[str]:
    """The command that trains by the demo's recipe with `changes` by dotted key, and leaves `run`."""
    settings = [f"{name}={value}" for name, value in (WITHOUT_EVALUATIONS | changes).items()]
    return [sys.executable, "-m", "boresight", "train", str(RECIPE), *settings, "--run", str(run)]


def timed(command: Sequence[str], cache: Path, **variables: str) -> float:
    """Wall seconds of a process; its output is printed only if it fails, which ends the benchmark.

    `cache` should be a new folder, so that reading, tokenizing and the reference are computed and paid for.
    """
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)} | variables
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return seconds
