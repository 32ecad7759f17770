"""A worker that dies by SIGKILL in the middle of its first trial, after two steps of it."""

import os
import signal
import sys
from pathlib import Path

from boresight.experiments.sweep import worker
from boresight.training import loop

step = loop.take_step


def step_or_die(task, optimizer, number, rate):
    """Training as ever, until the third step."""
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(task, optimizer, number, rate)


loop.take_step = step_or_die
worker.work_in(Path(sys.argv[1]))
