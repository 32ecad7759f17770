"""Interface of an experiment to the engine: its jobs, their dependencies, and how to run one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic

from rich.console import Console

from boresight.experiments.engine.claim import Claim, NoClaim, TakenOver
from boresight.experiments.engine.folder import ExperimentFolder, J, O


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job. Printed output goes to `console`, which writes to the job's output.txt."""

    claim: Claim | NoClaim
    console: Console
    earlier_seconds: float = 0.0
    """Seconds of earlier attempts, 0 in a folder that does not add them up (`sums_seconds`)."""
    started: float = field(default_factory=time.monotonic)

    @property
    def number(self) -> int:
        """Number of this attempt, from 1; interrupted attempts are not counted."""
        return self.claim.lost + 1

    @property
    def seconds(self) -> float:
        """Seconds since the attempt began, plus `earlier_seconds`."""
        return self.earlier_seconds + time.monotonic() - self.started

    def require_claim(self, *_: object) -> None:
        """Raise `TakenOver` if another worker has taken over the job.

        Accepts and ignores the arguments of a metrics listener, so that it can be used as one.
        """
        if not self.claim.held:
            raise TakenOver


class Experiment(ABC, Generic[J, O]):
    """Base class of sweeps and studies: lists the jobs of a folder and runs a job."""

    noun: ClassVar[str]
    """`sweep` or `study`, for messages."""
    folder: ExperimentFolder[J, O]

    @abstractmethod
    def jobs(self) -> Sequence[J]:
        """Return the jobs that are known so far, in running order. Their outcomes may add further jobs."""

    def dependencies(self, job: J) -> Sequence[J]:
        """Return the jobs that must have finished before `job` starts.

        `job` waits while one of them is open, and fails if one of them has ended without a result.
        """
        return ()

    def why_blocked(self, dependency: J) -> str:
        """Return the error message of a job that fails because `dependency` has not finished."""
        return f"{dependency.name} is not finished."

    def begin(self, job: J) -> None:
        """Called before an attempt at a job; does nothing by default."""

    @abstractmethod
    def run(self, job: J, attempt: Attempt) -> O:
        """Run a job, or continue its run, and return how it ended.

        Raises:
            UserError: the job has failed; the message is the reason.
            TakenOver: another worker has the job.
        """

    @abstractmethod
    def failure(self, job: J, attempt: Attempt, why: str) -> O:
        """Return the outcome of a job that failed; `why` is one sentence."""

    @abstractmethod
    def report(self, job: J, outcome: O) -> None:
        """Called after an outcome has been written."""
