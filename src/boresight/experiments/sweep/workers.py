"""Several worker processes on this machine, each with its share of cores and one of the GPUs.

A worker that is killed is replaced: its trial goes to whoever looks next, and counts one attempt.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from boresight.core.interrupt import Interrupted, listening
from boresight.experiments.sweep.storage import Sweep
from boresight.experiments.sweep.worker import unfinished

POLL_SECONDS = 0.2
STOPPED = 130
"""Exit code of a worker that was asked to stop."""


def run_workers(sweep: Sweep, workers: int, console: Console) -> None:
    """Let `workers` processes work until nothing is left.

    Raises:
        Interrupted: a signal; the workers have saved what they were doing.
        UserError: the workers die before they have begun anything.
    """
    running = [start(sweep.folder, index, workers) for index in range(workers)]
    spare = len(sweep.search_trials()) + workers  # replacements, so that a worker that cannot start ends it
    with listening() as stop:
        while any(worker is not None for worker in running):
            time.sleep(POLL_SECONDS)
            if stop.made:
                stop_all([worker for worker in running if worker])
                raise Interrupted("the sweep stopped; run the same command to go on.")
            for index, worker in enumerate(running):
                if worker is None or worker.poll() is None:
                    continue
                running[index] = None
                if worker.returncode and spare and unfinished(sweep):
                    spare -= 1
                    console.print(f"worker {index} {how(worker.returncode)}; another one takes its place.")
                    running[index] = start(sweep.folder, index, workers)


def start(folder: Path, index: int, workers: int) -> subprocess.Popen[bytes]:
    """Start worker `index`. It has a session of its own: Ctrl-C reaches it through us, and once."""
    command = [sys.executable, "-m", "boresight.experiments.sweep.worker", str(folder)]
    return subprocess.Popen(command, env=os.environ | shares(index, workers), start_new_session=True)


def shares(index: int, workers: int) -> dict[str, str]:
    """Environment of worker `index`: its cores, unless the user has said how many, and its GPU."""
    share = {}
    if "OMP_NUM_THREADS" not in os.environ:
        share["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    gpus = visible_gpus()
    if gpus:
        share["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    return share


def visible_gpus() -> list[str]:
    """GPUs of this machine, by the names CUDA_VISIBLE_DEVICES gives them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


def stop_all(workers: list[subprocess.Popen[bytes]]) -> None:
    """Ask every worker to save and stop, and wait for it."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait()


def how(code: int) -> str:
    """An exit code in words."""
    return f"was killed (signal {-code})" if code < 0 else f"ended with code {code}"
