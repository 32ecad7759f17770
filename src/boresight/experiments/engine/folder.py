"""The folder of an experiment: one folder per job, and the outcome of each job that has ended.

    JOB/run/           an ordinary run folder
    JOB/output.txt     printed output of its attempts
    JOB/error.txt      traceback of an unexpected error
    JOB/spent.json     seconds of all attempts, if they are added up
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
        """Name of its folder."""


class JobOutcome(Protocol):
    """How a job ended: a dataclass of numbers and texts."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def finished(self) -> bool:
        """Whether the job has a result."""

    @property
    def failed(self) -> bool:
        """Whether an error ended the job; a job may also have ended without a result for another reason."""


J = TypeVar("J", bound=Job)
O = TypeVar("O", bound=JobOutcome)  # noqa: E741


class ExperimentFolder(Generic[J, O]):
    """Paths and outcomes of all jobs."""

    folder: Path
    jobs_below: ClassVar[str] = ""
    """Folder that holds the jobs' folders, relative to `folder`."""
    shared: ClassVar[bool]
    """Policy: several workers may share the folder, each under a claim; otherwise there is one worker."""
    retries_failed: ClassVar[bool]
    """Policy: the next start runs failed jobs again and replaces their outcomes; otherwise they stay."""
    sums_seconds: ClassVar[bool]
    """Policy: the seconds of an outcome are those of all attempts; otherwise those of the last one."""
    outcome_class: ClassVar[type[Any]]

    def job_folder(self, job: J) -> Path:
        """Folder of a job."""
        return self.folder / self.jobs_below / job.name

    def run_folder(self, job: J) -> Path:
        """Run folder of a job."""
        return self.job_folder(job) / "run"

    def outcome(self, job: J) -> O | None:
        """How a job ended; None while it is open. Raises `UserError` if the file is torn or was edited."""
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
        """Seconds of earlier attempts, if they count."""
        path = self.job_folder(job) / "spent.json"
        if not (self.sums_seconds and path.exists()):
            return 0.0
        with suppress(ValueError):  # earlier versions wrote the number alone
            return float(path.read_text(encoding="utf-8"))
        return float(read_state(path, RUN_AGAIN)["seconds"])

    def keep_seconds(self, job: J, seconds: float) -> None:
        """Keep the seconds of all attempts so far, if they count."""
        if self.sums_seconds:
            write_state(self.job_folder(job) / "spent.json", {"seconds": seconds})

    def close(self, job: J, outcome: O) -> None:
        """Write how a job ended, once; a failure is replaced if failed jobs are run again."""
        path = self.job_folder(job) / "outcome.json"
        before = self.outcome(job)
        if self.retries_failed and before is not None and before.failed:
            write_state(path, asdict(outcome))
        else:
            create_state(path, asdict(outcome))
