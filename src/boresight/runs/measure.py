"""Measure the trained model of a run folder: complete its evaluation, or repeat it.

measure_trained(recipe, folder, DatasetCache(), console)      # complete an interrupted evaluation
evaluate_run(Path("runs/mine"), console)                      # `boresight evaluate runs/mine`
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.data.prepare import DatasetCache
from boresight.llm.replies.failures import continuing
from boresight.models.kernels.allocator import keep_freed_memory
from boresight.reports.tables.terminal import evaluation_table
from boresight.runs.loading import LoadedRun, load_run
from boresight.runs.outcome import (
    Snapshot,
    answer,
    kept_answers,
    measure_start_again,
    read_start,
    write_outcome,
    write_run_report,
)
from boresight.runs.training_folder import TrainingFolder
from boresight.stats.paired import ByRow, Measured
from boresight.training.checkpoints import disk_errors, trained
from boresight.training.checkpoints.resume_command import resume_command
from boresight.training.distributed import collectives
from boresight.training.loop import measure_again


def evaluate_run(path: Path, console: Console) -> Path:
    """Measure the model of the run in `path` again, by the run's own recipe; returns the path of the report.

    Measurements of the start model are read from the folder if it has them. Each file is replaced only once
    its new content is complete.

    Raises:
        UserError: `path` is no run folder with a trained model, or its model, data or start model have
            changed or cannot be found.
    """
    keep_freed_memory()
    with (
        collectives.joined(),
        disk_errors.explain_disk_errors(path),
        continuing("run the same command again"),
        TrainingFolder(path) as folder,
    ):
        recipe = recipe_of_trained(folder)
        folder.lock()
        metrics = measure_trained(recipe, folder, DatasetCache(), console, again=True)
        console.print(evaluation_table(metrics))
        if collectives.is_first():
            write_run_report(folder, recipe, console)
    return folder.report


def recipe_of_trained(folder: TrainingFolder) -> Recipe:
    """Return the recipe of a run folder.

    Raises:
        UserError: `folder` holds no training run, or its trained model is missing or was changed.
    """
    raw = folder.recipe()
    if raw is None:
        raise UserError(
            f"{folder.path}: not the folder of a training run (a config.yaml with a method); give `evaluate` "
            "such a folder, or a recipe with the systems to compare."
        )
    recipe = Recipe.parse(raw)
    if not folder.trained:
        raise UserError(
            f"{folder.path}: there is no trained model yet; `{resume_command(folder.path)}` resumes the run."
        )
    trained.refuse_changed_model(folder.path)
    return recipe


def measure_trained(
    recipe: Recipe,
    folder: TrainingFolder,
    datasets: DatasetCache,
    console: Console,
    *,
    again: bool = False,
    loading: Console | None = None,
) -> list[Measured]:
    """Measure the start model and the trained model; writes and returns the metrics.

    Numbers and answers that the folder already has are not measured again.

    Args:
        again: measure the trained model even if the folder already has its numbers.
        loading: console for what loading prints; None is `console`.
    """
    before, loading = read_start(folder), loading or console
    if before is None:
        start = load_same_run(recipe, folder, datasets, loading)
        before = measure_start_again(start.task, folder, start.prompts, console)
        del start  # frees its memory for the trained model
    loaded = load_same_run(recipe, folder, datasets, loading, trained=folder.model)
    kept = None if again else trained.read_end(folder.path).get("numbers")
    numbers = _measured_numbers(loaded, folder) if kept is None else kept
    if collectives.is_first() and not trained.has_hashes(folder.path):
        trained.write_hashes(folder.path, trained.model_files(folder.path))
    answered = None if again else kept_answers(folder, loaded.prompts)
    if answered is None:
        answered = answer(loaded.task, loaded.prompts, console)
    return write_outcome(folder, loaded.task, loaded.prompts, before, Snapshot(answered, numbers))


def load_same_run(
    recipe: Recipe,
    folder: TrainingFolder,
    datasets: DatasetCache,
    console: Console,
    trained: Path | None = None,
) -> LoadedRun:
    """Load the run in `folder` by `load_run`.

    Raises:
        UserError: its data have changed, or as for `load_run`.
    """
    loaded = load_run(recipe, datasets, folder.path, console, folder.earlier(), trained=trained)
    folder.refuse_other_data(loaded.facts())
    return loaded


def _measured_numbers(loaded: LoadedRun, folder: TrainingFolder) -> ByRow:
    step = trained.step_of_model(folder.path)
    step = folder.last_step if step is None else step  # 0 is the start model, which the guard may keep
    numbers = measure_again(loaded.task, step)
    if collectives.is_first():
        trained.write_numbers(folder.path, numbers, step)
    return numbers
