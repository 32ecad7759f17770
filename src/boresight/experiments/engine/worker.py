"""One worker: claim a job, run it, write its outcome; repeat until no job is open.

Any number of workers may share a folder whose policy allows it, on all machines with access to it. There is
no coordinator.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from boresight.core.errors import UserError, terminal_safe
from boresight.core.interrupt import Interrupted
from boresight.experiments.engine.attempt import attempt_job
from boresight.experiments.engine.claim import NoClaim, take
from boresight.experiments.engine.experiment import Experiment
from boresight.experiments.engine.folder import J, O
from boresight.experiments.engine.queue import Queue

IDLE_SECONDS = 1.0
"""Seconds after which a worker that can claim none of the open jobs tries again."""
STOPPED = 130
"""Exit code of a worker process that was stopped by a signal."""


def work(experiment: Experiment[J, O]) -> None:
    """Run jobs until none is open.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM; the current job is saved and continues with the next start.
    """
    queue = Queue(experiment)
    while open_jobs := queue.open_jobs():
        if not any(_take(experiment, queue, job) for job in open_jobs if queue.is_ready(job, open_jobs)):
            time.sleep(IDLE_SECONDS)  # a worker may die, or an outcome may add jobs


def _take(experiment: Experiment[J, O], queue: Queue[J, O], job: J) -> bool:
    """Claim a job and run it unless it has ended; return False if another worker has the job."""
    claim = take(experiment.folder.job_folder(job)) if experiment.folder.shared else NoClaim()
    if claim is None:
        return False
    if queue.is_open(job):  # it may have ended since the jobs were listed
        attempt_job(experiment, job, claim)
        queue.mark_attempted(job)
    return True


def serve(open_experiment: Callable[[], Experiment[Any, Any]]) -> NoReturn:
    """Run jobs until none is open, then exit: the main function of a worker process.

    Exit codes: 0 if no job is open, 130 after a signal, 2 after a `UserError`.
    """

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        work(open_experiment())
    except (Interrupted, KeyboardInterrupt):
        sys.exit(STOPPED)
    except UserError as error:
        print(f"boresight: {terminal_safe(str(error))}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
