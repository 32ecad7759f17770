"""The folder of an experiment: one folder per job, and the outcome of each job that has ended.

    JOB/run/           an ordinary run folder
    JOB/output.txt     printed output of its attempts
    JOB/error.txt      traceback of an unexpected error
    JOB/spent.json     seconds of all attempts, if the folder adds them up
    JOB/outcome.json   written last

A job without an outcome is open.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import Field, asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from boresight.core.errors import UserError
from boresight.core.files import create_state, read_state, write_state

RUN_AGAIN = "restore it, or delete it and run the same command again"


class Job(Protocol):
    """One run of an experiment; hashable."""

    @property
    def name(self) -> str:
        """Name of the job's folder."""


class JobOutcome(Protocol):
    """How a job ended: a dataclass of numbers and texts."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def finished(self) -> bool:
        """Whether the job has a result."""

    @property
    def failed(self) -> bool:
        """Whether an error ended the job. A job can also end without an error or a result, as when pruned."""


J = TypeVar("J", bound=Job)
O = TypeVar("O", bound=JobOutcome)  # noqa: E741


class ExperimentFolder(Generic[J, O]):
    """Paths and outcomes of all jobs."""

    folder: Path
    jobs_below: ClassVar[str] = ""
    """Path of the folder that contains the jobs' folders, relative to `folder`."""
    shared: ClassVar[bool]
    """Whether several workers may share the folder, each with claims on its jobs."""
    retries_failed: ClassVar[bool]
    """Whether the next start runs failed jobs again and replaces their outcomes."""
    sums_seconds: ClassVar[bool]
    """Whether the seconds of an outcome are the sum over all attempts, not only those of the last one."""
    outcome_class: ClassVar[type[Any]]

    def job_folder(self, job: J) -> Path:
        """Return the folder of a job."""
        return self.folder / self.jobs_below / job.name

    def run_folder(self, job: J) -> Path:
        """Return the run folder of a job."""
        return self.job_folder(job) / "run"

    def outcome(self, job: J) -> O | None:
        """Return how a job ended, or None while it is open.

        Raises:
            UserError: the outcome file is torn, was edited, or is of another version.
        """
        path = self.job_folder(job) / "outcome.json"
        found: O | None = None
        if path.exists():
            try:
                found = self.outcome_class(**read_state(path, RUN_AGAIN))
            except TypeError:
                raise UserError(
                    f"{path}: this file is of another version or was edited; {RUN_AGAIN}."
                ) from None
        return found

    def finished(self, job: J) -> bool:
        """Whether a job has ended with a result."""
        outcome = self.outcome(job)
        return outcome is not None and outcome.finished

    def earlier_seconds(self, job: J) -> float:
        """Return the seconds of earlier attempts, or 0 if they are not added up (`sums_seconds`)."""
        path = self.job_folder(job) / "spent.json"
        if not (self.sums_seconds and path.exists()):
            return 0.0
        with suppress(ValueError):  # earlier versions wrote the number alone
            return float(path.read_text(encoding="utf-8"))
        return float(read_state(path, RUN_AGAIN)["seconds"])

    def keep_seconds(self, job: J, seconds: float) -> None:
        """Write the seconds of all attempts so far, if they are added up (`sums_seconds`)."""
        if self.sums_seconds:
            write_state(self.job_folder(job) / "spent.json", {"seconds": seconds})

    def close(self, job: J, outcome: O) -> None:
        """Write the outcome of a job, unless it has one. With `retries_failed`, a failure is replaced."""
        path = self.job_folder(job) / "outcome.json"
        before = self.outcome(job)
        if self.retries_failed and before is not None and before.failed:
            write_state(path, asdict(outcome))
        else:
            create_state(path, asdict(outcome))
