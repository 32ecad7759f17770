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
    """Seconds of earlier attempts, if they count."""
    started: float = field(default_factory=time.monotonic)

    @property
    def number(self) -> int:
        """1 for the first attempt; interrupted ones do not count."""
        return self.claim.lost + 1

    @property
    def seconds(self) -> float:
        """Seconds since the attempt began, plus those of earlier ones that count."""
        return self.earlier_seconds + time.monotonic() - self.started

    def require_claim(self, *_: object) -> None:
        """Raise `TakenOver` if another worker has the job. Takes the arguments of a metrics listener."""
        if not self.claim.held:
            raise TakenOver


class Experiment(ABC, Generic[J, O]):
    """The jobs of a folder."""

    noun: ClassVar[str]
    """`sweep` or `study`, for messages."""
    folder: ExperimentFolder[J, O]

    @abstractmethod
    def jobs(self) -> Sequence[J]:
        """Jobs known so far, in the order they are run. Later ones may depend on the outcomes of these."""

    def dependencies(self, job: J) -> Sequence[J]:
        """Jobs that must have finished before this one starts; it waits for open ones and fails otherwise."""
        return ()

    def why_blocked(self, dependency: J) -> str:
        """The sentence with which a job fails whose dependency has not finished."""
        return f"{dependency.name} is not finished."

    def begin(self, job: J) -> None:
        """Called before an attempt."""

    @abstractmethod
    def run(self, job: J, attempt: Attempt) -> O:
        """Run a job, or continue its run, and return how it ended.

        Raises:
            UserError: the job has failed; the message is the reason.
            TakenOver: another worker has the job.
        """

    @abstractmethod
    def failure(self, job: J, attempt: Attempt, why: str) -> O:
        """Outcome of a job that failed; `why` is one sentence."""

    @abstractmethod
    def report(self, job: J, outcome: O) -> None:
        """Called after an outcome has been written."""
