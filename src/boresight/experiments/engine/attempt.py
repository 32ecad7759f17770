"""One attempt at a job: run it, and write its outcome. The outcome of a failed job contains the error as
one sentence."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from boresight.core.console import Terminal
from boresight.core.errors import UserError, memory_error, named_first_line
from boresight.core.files import write_text
from boresight.core.interrupt import Interrupted
from boresight.experiments.engine.claim import Claim, NoClaim, TakenOver
from boresight.experiments.engine.experiment import Attempt, Experiment
from boresight.experiments.engine.folder import J, O
from boresight.models.kernels.allocator import release_memory

MOST_LOST_WORKERS = 2
"""A job whose worker died this many times counts as failed."""


def attempt_job(experiment: Experiment[J, O], job: J, claim: Claim | NoClaim) -> None:
    """Run a job and write its outcome, unless another worker has taken over.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM; the run was saved at a checkpoint, and the job is open again.
    """
    folder = experiment.folder.job_folder(job)
    folder.mkdir(parents=True, exist_ok=True)
    experiment.begin(job)
    try:
        with (
            stopping(experiment.noun),
            claim.kept_alive(),
            (folder / "output.txt").open("a", encoding="utf-8") as output,
        ):
            own = Terminal(file=output, width=120, soft_wrap=True)
            attempt = Attempt(claim, own, experiment.folder.earlier_seconds(job))
            outcome = _run(experiment, job, attempt)
    except TakenOver:
        return
    except Interrupted:
        claim.release()
        raise
    if claim.held:
        experiment.folder.close(job, outcome)
        if outcome.failed and experiment.folder.retries_failed:
            claim.release()
        experiment.report(job, outcome)


@contextmanager
def stopping(noun: str) -> Iterator[None]:
    """Raise an `Interrupted` that explains how to resume if Ctrl-C or SIGTERM ends the block."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(f"the {noun} stopped; run the same command to resume.") from None


def _run(experiment: Experiment[J, O], job: J, attempt: Attempt) -> O:
    """Run a job and return its outcome. An error becomes the outcome of a failed job."""
    try:
        _refuse_hopeless(experiment, job, attempt)
        return experiment.run(job, attempt)
    except UserError as error:
        why = str(error)
    except (TakenOver, Interrupted):
        raise
    except Exception as error:  # a failed job is a line of the report, whatever went wrong
        path = experiment.folder.job_folder(job) / "error.txt"
        write_text(path, traceback.format_exc())
        why = error_sentence(error)
    finally:
        experiment.folder.keep_seconds(job, attempt.seconds)
        release_memory()  # or the last model stays in memory while the next one is loaded
    return experiment.failure(job, attempt, why)


def _refuse_hopeless(experiment: Experiment[J, O], job: J, attempt: Attempt) -> None:
    """Raise a `UserError` if a job has lost too many workers, or if a dependency has not finished."""
    if attempt.claim.lost >= MOST_LOST_WORKERS:
        raise UserError(
            f"its worker process exited without an error {attempt.claim.lost} times, most often because "
            "the machine was out of memory; output.txt shows how far it came"
        )
    for dependency in experiment.dependencies(job):
        if not experiment.folder.finished(dependency):
            raise UserError(experiment.why_blocked(dependency))


def error_sentence(error: Exception) -> str:
    """Return the sentence that describes an unexpected error in the outcome of a failed job."""
    if reason := memory_error(error):
        return f"{reason}; lower train.tokens_per_forward for this setting (error.txt has the rest)"
    return f"{named_first_line(error)} (error.txt has the rest)"
