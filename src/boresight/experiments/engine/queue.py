"""Which jobs are still open. Read from the folder every time, since other workers may end them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

from boresight.experiments.engine.experiment import Experiment
from boresight.experiments.engine.folder import J, O


class Queue(Generic[J, O]):
    """The open jobs of an experiment.

    If the folder's policy is to run failed jobs again, those that had failed before this process started
    count as open until they have another outcome.
    """

    def __init__(self, experiment: Experiment[J, O]) -> None:
        self._experiment, self._folder = experiment, experiment.folder
        self._retried: dict[J, O] = {}
        for job in experiment.jobs() if self._folder.retries_failed else ():
            outcome = self._folder.outcome(job)
            if outcome is not None and outcome.failed:
                self._retried[job] = outcome

    def open_jobs(self) -> list[J]:
        """Open jobs, in the order they are to be run."""
        return [job for job in self._experiment.jobs() if self.is_open(job)]

    def is_open(self, job: J) -> bool:
        """Whether a job has no outcome that counts."""
        outcome = self._folder.outcome(job)
        return outcome is None or outcome == self._retried.get(job)

    def is_ready(self, job: J, open_jobs: Sequence[J]) -> bool:
        """Whether all that a job depends on has ended, or will not be run."""
        return not any(needed in open_jobs for needed in self._experiment.dependencies(job))

    def mark_attempted(self, job: J) -> None:
        """Record that this process has attempted a job; it attempts each job once."""
        self._retried.pop(job, None)
