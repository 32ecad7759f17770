"""One training run from recipe to report: check, load, train, evaluate, write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from boresight.checks.forecast.ramp import Ramp
from boresight.checks.forecast.ramp_file import read_ramp, write_ramp
from boresight.config.recipe import Recipe
from boresight.core.console import Terminal, print_stage, print_warning
from boresight.core.interrupt import Interrupted
from boresight.data.prepare import DatasetCache
from boresight.findings.finding import Finding
from boresight.findings.monitor import watch
from boresight.llm.replies.failures import Stopped
from boresight.models.kernels.allocator import keep_freed_memory, release_memory
from boresight.reports.tables.terminal import evaluation_table
from boresight.runs.check.auto_rate import choose_rate
from boresight.runs.check.preflight import before_training
from boresight.runs.environment import unmeasured_path
from boresight.runs.loading import LoadedRun, load_run
from boresight.runs.measure import measure_trained
from boresight.runs.outcome import (
    Snapshot,
    answer,
    measure_start,
    measure_start_again,
    read_start,
    write_outcome,
    write_run_report,
)
from boresight.runs.training_folder import Place, Stage, TrainingFolder
from boresight.scorers.rewards import check_rewards
from boresight.stats.paired import ByRow, Measured
from boresight.training.checkpoints import disk_errors, memory_errors, trained
from boresight.training.checkpoints.checkpoint import damaged_in_words
from boresight.training.checkpoints.space import checkpoints_in_words, refuse_full_disk
from boresight.training.distributed import collectives
from boresight.training.guard.guard import Guard
from boresight.training.guard.kept import model_in_words
from boresight.training.logging import integrations
from boresight.training.logging.logger import Listener, Tracker
from boresight.training.loop import Task, resume_sentence, run_steps, save_policy


def run_training(
    recipe: Recipe,
    folder: Path,
    console: Console | None = None,
    *,
    resume: bool = False,
    listeners: Sequence[Listener] = (),
    claimed: bool = False,
    datasets: DatasetCache | None = None,
    arguments: Sequence[str] = ("RECIPE",),
) -> Path:
    """Train by `recipe` into `folder`, or resume the run there; returns the path of the report.

    An interrupted run is completed with what is missing: steps after its checkpoint, answers, metrics, the
    report. If torchrun has started several processes, all of them train this one run; the first writes the
    folder and the report.

    Args:
        resume: raise an error if there is no run in `folder`; a run there is resumed in either case.
        listeners: functions that are called with every line of metrics; an exception in one ends the run.
        claimed: whether the caller has locked the folder already.
        datasets: cache that keeps the data for the caller's next run.
        arguments: recipe and overrides of the current command, for the commands that are suggested.

    Raises:
        UserError: `folder` holds a run that cannot be resumed: a finished one, one of another recipe or other
            data, one whose checkpoints are damaged, one locked by another process. Or anything in the recipe
            or the data is wrong; then the folder is not created. Or the disk or the memory is full; then the
            message names the last complete checkpoint.
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
            if warning := unmeasured_path(recipe.model.device):
                print_warning(console, warning)
            with resumable(run_folder), memory_errors.explain_memory_errors(folder, recipe):
                cache = datasets or DatasetCache()
                _run(recipe, run_folder, console, resume, listeners, cache, arguments)
            collectives.wait()  # so that the folder is complete when any process continues
    return run_folder.report


@contextmanager
def resumable(folder: TrainingFolder) -> Iterator[None]:
    """Context manager that adds how to resume the run to the errors that interrupt it.

    These are Ctrl-C between two stages, which becomes `Interrupted`, and `Stopped`, for example from a reward
    whose endpoint fails.
    """
    try:
        yield
    except KeyboardInterrupt:
        if folder.recipe() is None:
            raise
        raise Interrupted(f"interrupted; {resume_sentence(folder.path)}.") from None
    except Stopped as stopped:
        if folder.recipe() is None or stopped.other_recipe:
            raise
        raise stopped.continued(resume_sentence(folder.path)) from None


def run_to_end(
    recipe: Recipe,
    folder: Path,
    console: Console,
    listeners: Sequence[Listener] = (),
    *,
    claimed: bool = False,
    datasets: DatasetCache | None = None,
) -> None:
    """Call `run_training`, unless the run in `folder` is finished."""
    with TrainingFolder(folder, claimed) as run_folder:
        if run_folder.finished:
            return
    run_training(recipe, folder, console, listeners=listeners, claimed=claimed, datasets=datasets)


def _run(
    recipe: Recipe,
    folder: TrainingFolder,
    console: Console,
    resume: bool,
    listeners: Sequence[Listener],
    datasets: DatasetCache,
    arguments: Sequence[str],
) -> None:
    recipe, ramp = choose_rate(recipe, folder.recipe(), console, arguments)
    place = find_place(folder, recipe, resume)
    if ramp is None and place.stage is not Stage.NOTHING:
        ramp = read_ramp(folder.path)
    if place.stage is not Stage.EVALUATED:
        if place.stage is Stage.TRAINED:
            console.print(f"{folder.path}: resuming the run there {place}.", highlight=False)
            metrics = measure_trained(recipe, folder, datasets, console)
        else:
            metrics = train_and_measure(recipe, folder, place, datasets, listeners, console, ramp, arguments)
        console.print(evaluation_table(metrics))
    if collectives.is_first():
        write_run_report(folder, recipe, console)


def find_place(folder: TrainingFolder, recipe: Recipe, resume: bool) -> Place:
    """Return the stage that the run in `folder` has reached; the first process reads it for all processes."""
    found = folder.find_place(recipe, resume=resume) if collectives.is_first() else Place(Stage.NOTHING)
    stage = Stage(collectives.from_first(found.stage.value))
    return Place(stage, collectives.path_from_first(lambda: found.checkpoint))


def train_and_measure(
    recipe: Recipe,
    folder: TrainingFolder,
    place: Place,
    datasets: DatasetCache,
    listeners: Sequence[Listener],
    console: Console,
    ramp: Ramp | None = None,
    arguments: Sequence[str] = ("RECIPE",),
) -> list[Measured]:
    """Measure the start model, train from the beginning or a checkpoint, and measure the trained model.

    `ramp` is the learning-rate ramp that chose or forecast the rate, `arguments` are those of the command.
    """
    anew = place.checkpoint is None
    findings = preflight_findings(recipe, console, datasets, ramp, arguments) if anew else []
    earlier = folder.earlier()
    loaded = load_run(recipe, datasets, folder.path, console, earlier)
    if earlier.choices and (changed := loaded.choices.differences(earlier.choices)):
        console.print(f"unlike before: {changed}", highlight=False)
    task, prompts = loaded.task, loaded.prompts
    if collectives.is_first():
        open_training_folder(folder, recipe, loaded, findings, place, console)
        if ramp is not None:
            write_ramp(folder.path, ramp)
    collectives.wait()
    before = read_start(folder)
    if before is None and not anew:
        before = measure_start_again(task, folder, prompts, console)
    with open_tracker(task, len(loaded.data.eval.rows), listeners, console) as task.tracker:
        before = before or measure_start(task, folder, prompts, console)
        task.guard = guard_of(task, before.numbers)
        numbers = run_steps(task, place.checkpoint)
        after = Snapshot(answer(task, prompts, console), numbers) if numbers is not None else None
    if after is None:
        del loaded, task  # frees their memory for the model that the guard kept
        release_memory()
        return measure_kept(recipe, folder, datasets, console)
    return write_outcome(folder, task, prompts, before, after)


def measure_kept(
    recipe: Recipe, folder: TrainingFolder, datasets: DatasetCache, console: Console
) -> list[Measured]:
    """Measure the model that the guard kept.

    Loading it prints nothing: everything was printed when the run was loaded for training.
    """
    print_stage(console, f"measuring {model_in_words(trained.step_of_model(folder.path))}")
    return measure_trained(recipe, folder, datasets, console, loading=Terminal(quiet=True))


def guard_of(task: Task, before: ByRow) -> Guard | None:
    """Create the guard of a run; None if the recipe has none, or if none of its metrics is measured."""
    bounds = task.recipe.train.guard
    if bounds is None:
        return None
    guard = Guard(task.run, bounds, before, partial(save_policy, task), task.same_prompts)
    return guard if guard.readings(before) else None


def preflight_findings(
    recipe: Recipe,
    console: Console,
    datasets: DatasetCache,
    ramp: Ramp | None = None,
    arguments: Sequence[str] = ("RECIPE",),
) -> list[Finding]:
    """Run the preflight checks in the first process, before anything is loaded, and return their findings.

    The other processes return an empty list.

    Raises:
        UserError: an error that stops the run.
    """
    if not collectives.is_first():
        return []
    return before_training(recipe, console, datasets, ramp, arguments)


def open_training_folder(
    folder: TrainingFolder,
    recipe: Recipe,
    loaded: LoadedRun,
    findings: Sequence[Finding],
    place: Place,
    console: Console,
) -> None:
    """Create the run folder with everything known before training, or rewind it to the checkpoint."""
    refuse_full_disk(folder.path, recipe.train, loaded.task.policy)
    console.print(checkpoints_in_words(recipe.train, loaded.task.policy), highlight=False)
    if place.checkpoint is None:
        folder.begin_run(recipe, loaded.facts(), findings, loaded.leftovers)
    else:
        damaged = damaged_in_words(folder.path, place.checkpoint)
        folder.resume_from(place.checkpoint, loaded.facts())
        if damaged:
            print_warning(console, f"{folder.path}: {damaged} and was deleted.")
    if place.checkpoint is None or not folder.choices_file.is_file():
        loaded.choices.write(folder.choices_file)
    if place.stage is not Stage.NOTHING:
        console.print(f"{folder.path}: resuming the run there {place}.", highlight=False)


def open_tracker(
    task: Task, eval_rows: int, listeners: Sequence[Listener], console: Console
) -> Tracker | collectives.Silent:
    """Create the tracker of the run, with the monitor and the integrations.

    In processes other than the first it logs nothing.
    """
    tracker: Tracker | collectives.Silent = collectives.Silent()
    if collectives.is_first():
        steps = task.batches.steps
        tracker = Tracker(task.run, steps, console, task.recipe.method.status_metrics)
        watch(task.run, tracker, task.recipe, steps, eval_rows, eval_rows - len(task.same_prompts.rows))
        integrations.connect(tracker, task.recipe, task.run, steps)
    tracker.listeners += listeners
    return tracker
