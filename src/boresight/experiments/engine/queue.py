"""List the open jobs of an experiment.

They are read from the folder at every call, since other workers may have ended some of them.
"""

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
        """Return the open jobs in running order."""
        return [job for job in self._experiment.jobs() if self.is_open(job)]

    def is_open(self, job: J) -> bool:
        """Whether a job has no outcome, or only the failure of an earlier process, which is to be retried."""
        outcome = self._folder.outcome(job)
        return outcome is None or outcome == self._retried.get(job)

    def is_ready(self, job: J, open_jobs: Sequence[J]) -> bool:
        """Whether a job can start: none of the jobs that it depends on is among `open_jobs`."""
        return not any(needed in open_jobs for needed in self._experiment.dependencies(job))

    def mark_attempted(self, job: J) -> None:
        """Record that this process has attempted a job, so that it retries an earlier failure only once."""
        self._retried.pop(job, None)
