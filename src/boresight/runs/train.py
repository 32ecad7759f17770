"""One training run from recipe to report: check, load, train, evaluate, write it all down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.console import Terminal
from boresight.data.prepare import DatasetCache
from boresight.findings.finding import Finding
from boresight.findings.monitor import watch
from boresight.models.kernels.allocator import keep_freed_memory
from boresight.runs.check.preflight import before_training
from boresight.runs.loading import LoadedRun, load_run
from boresight.runs.outcome import (
    Snapshot,
    answer,
    likelihood_of_answers,
    measure_start,
    read_start,
    write_outcome,
)
from boresight.runs.training_folder import TrainingFolder
from boresight.scorers.rewards import check_rewards
from boresight.training.checkpoints import disk_errors
from boresight.training.checkpoints.checkpoint import drop_unwanted
from boresight.training.checkpoints.space import checkpoints_in_words, refuse_full_disk
from boresight.training.distributed import collectives
from boresight.training.logging import integrations
from boresight.training.logging.logger import Listener, Tracker
from boresight.training.loop import Task, run_steps


def run_training(
    recipe: Recipe,
    folder: Path,
    console: Console | None = None,
    *,
    resume: bool = False,
    listeners: Sequence[Listener] = (),
    claimed: bool = False,
    datasets: DatasetCache | None = None,
) -> Path:
    """Train by `recipe` into `folder`, or go on with the run there; returns the path of the report.

    A run that was cut short goes on from its checkpoint, with `resume` or without; with it, there must be
    one. `listeners` get every line of metrics; what they raise ends the run. Of `claimed` folders the caller
    knows that no other process is in them. `datasets` keeps the data for the caller's next run.

    Started by torchrun, all processes make this one run; the first writes the folder and the report.

    Raises:
        UserError: `folder` holds a run that cannot go on: a finished one, one of another recipe or other
            data, one without a checkpoint, one under way. Anything in the recipe or the data is wrong; then
            the folder is not created. The disk takes no more; then the message says what is whole.
        Interrupted: a signal asked the run to stop, which it did at a checkpoint, or a process has died.
    """
    keep_freed_memory()
    check_rewards(recipe.reward)
    with collectives.joined():
        if console is None or not collectives.is_first():
            console = Terminal(soft_wrap=True, quiet=not collectives.is_first())
        folder = Path(collectives.from_first(str(folder)))
        with (
            collectives.noticing_losses(folder),
            disk_errors.explain_disk_errors(folder),
            TrainingFolder(folder, claimed) as run_folder,
        ):
            _run(recipe, run_folder, console, resume, listeners, datasets or DatasetCache())
            collectives.wait()  # so that the folder is whole when any process goes on
    return run_folder.report


def run_to_end(
    recipe: Recipe,
    folder: Path,
    console: Console,
    listeners: Sequence[Listener] = (),
    *,
    claimed: bool = False,
    datasets: DatasetCache | None = None,
) -> None:
    """Run, go on with, or leave alone what `folder` holds, so that a finished run is there afterwards.

    A run that was killed before its first checkpoint is started again. `claimed` and `datasets` are as for
    `run`.
    """
    with TrainingFolder(folder, claimed) as run_folder:
        if run_folder.finished:
            return
        resume = run_folder.resumable
        if not resume:
            run_folder.clear()
    run_training(
        recipe, folder, console, resume=resume, listeners=listeners, claimed=claimed, datasets=datasets
    )


def _run(
    recipe: Recipe,
    folder: TrainingFolder,
    console: Console,
    resume: bool,
    listeners: Sequence[Listener],
    datasets: DatasetCache,
) -> None:
    checkpoint = collectives.path_from_first(lambda: folder.find_checkpoint(recipe, resume=resume))
    findings = preflight_findings(recipe, console, datasets) if checkpoint is None else []
    day = folder.template_day if checkpoint else None
    loaded = load_run(recipe, datasets, folder.path, console, day=day)
    task, prompts = loaded.task, loaded.prompts
    collectives.path_from_first(
        lambda: open_training_folder(folder, recipe, loaded, findings, checkpoint, console)
    )
    with open_tracker(task, len(loaded.data.eval.rows), listeners, console) as task.tracker:
        before = read_start(folder) if checkpoint else measure_start(task, folder, prompts, console)
        numbers = run_steps(task, checkpoint)
        after = Snapshot(answer(task, prompts, console), numbers)
        likelihood = likelihood_of_answers(task, prompts, before, after)
    if collectives.is_first():
        write_outcome(folder, prompts, before, after, likelihood, recipe.method, console)
        if recipe.train.save_every is None:
            drop_unwanted(folder.path)


def preflight_findings(recipe: Recipe, console: Console, datasets: DatasetCache) -> list[Finding]:
    """Findings before anything is loaded, of the first process. Raises `UserError` for what stops the run."""
    return before_training(recipe, console, datasets) if collectives.is_first() else []


def open_training_folder(
    folder: TrainingFolder,
    recipe: Recipe,
    loaded: LoadedRun,
    findings: Sequence[Finding],
    checkpoint: Path | None,
    console: Console,
) -> None:
    """Create the run folder with what is known before training, or bring it back to the checkpoint."""
    refuse_full_disk(folder.path, recipe.train, loaded.task.policy)
    console.print(checkpoints_in_words(recipe.train, loaded.task.policy), highlight=False)
    if checkpoint is None:
        folder.begin_run(recipe, loaded.data.facts(), findings, loaded.leftovers)
        return
    step = folder.resume_from(checkpoint, loaded.data.facts())
    console.print(f"{folder.path}: going on with the run there after step {step}.", highlight=False)


def open_tracker(
    task: Task, eval_rows: int, listeners: Sequence[Listener], console: Console
) -> Tracker | collectives.Silent:
    """The tracker of the run, with the monitor and the integrations; a silent one in other processes."""
    tracker: Tracker | collectives.Silent = collectives.Silent()
    if collectives.is_first():
        steps = task.batches.steps
        tracker = Tracker(task.run, steps, console)
        watch(task.run, tracker, task.recipe, steps, eval_rows)
        integrations.connect(tracker, task.recipe, task.run, steps)
    tracker.listeners += listeners
    return tracker
