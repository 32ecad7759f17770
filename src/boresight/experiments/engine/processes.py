"""Run several worker processes on this machine, each with its share of the cores and one of the GPUs.

A worker that is killed is replaced. Another worker takes over its job, for which the lost attempt counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from boresight.core.console import print_warning
from boresight.core.interrupt import Interrupted, listening
from boresight.experiments.engine.experiment import Experiment
from boresight.experiments.engine.queue import Queue

WATCH_SECONDS = 0.2
"""Interval between checks of the worker processes, in seconds."""


def run_workers(experiment: Experiment[Any, Any], module: str, workers: int, console: Console) -> None:
    """Start `workers` processes, `python -m module FOLDER` each, and wait until no job is open.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM; the workers have saved their current jobs.
    """
    folder, queue = experiment.folder.folder, Queue(experiment)
    running: list[subprocess.Popen[bytes] | None] = [
        start(module, folder, index, workers, console.quiet) for index in range(workers)
    ]
    spare = len(experiment.jobs()) + workers  # replacements are limited: a worker may be unable to start
    with listening() as stop:
        while any(worker is not None for worker in running):
            time.sleep(WATCH_SECONDS)
            if stop.made:
                stop_all([worker for worker in running if worker])
                raise Interrupted(f"the {experiment.noun} stopped; run the same command to resume.")
            for index, worker in enumerate(running):
                if worker is None or worker.poll() is None:
                    continue
                running[index] = None
                if worker.returncode and spare and queue.open_jobs():
                    spare -= 1
                    ended = exit_in_words(worker.returncode)
                    print_warning(console, f"worker {index} {ended}; another one takes its place.")
                    running[index] = start(module, folder, index, workers, console.quiet)


def start(
    module: str, folder: Path, index: int, workers: int, quiet: bool = False
) -> subprocess.Popen[bytes]:
    """Start worker `index` in a session of its own, so that Ctrl-C reaches it once, through this process.

    With `quiet` it prints errors only.

    Python's option `-P` keeps it from importing files of the current folder, such as a `yaml.py` beside the
    data, in place of packages.
    """
    command = [sys.executable, "-P", "-m", module, str(folder)]
    output = subprocess.DEVNULL if quiet else None
    environment = os.environ | shares(index, workers)
    return subprocess.Popen(command, env=environment, stdout=output, start_new_session=True)


def shares(index: int, workers: int) -> dict[str, str]:
    """Return the environment variables of worker `index`: its number of threads, unless set, and its GPU."""
    share = {}
    if "OMP_NUM_THREADS" not in os.environ:
        share["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    gpus = visible_gpus()
    if gpus:
        share["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    return share


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, by their names in CUDA_VISIBLE_DEVICES."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


def stop_all(workers: list[subprocess.Popen[bytes]]) -> None:
    """Send SIGTERM to every worker, so that it saves its job and exits, and wait for all of them."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait()


def exit_in_words(code: int) -> str:
    """Describe the exit code of a worker process in words."""
    return f"was killed (signal {-code})" if code < 0 else f"ended with code {code}"
