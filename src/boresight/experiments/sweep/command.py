"""What `boresight sweep` does with its arguments."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from boresight.experiments.engine.processes import run_workers
from boresight.experiments.engine.worker import work
from boresight.experiments.sweep import search, storage
from boresight.experiments.sweep.page import write_sweep_page
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.experiments.sweep.storage import Sweep
from boresight.experiments.sweep.trials import SweepTrials

WORKER = "boresight.experiments.sweep.worker"
"""Module that a worker process runs."""


def sweep(path: Path, overrides: list[str], folder: Path | None, workers: int, console: Console) -> Path:
    """Begin, join or go on with a sweep, to its end; returns the path of the page.

    The folder has no time in its name: the same command goes on where it stopped, and on another machine
    that sees the folder it adds workers.

    Raises:
        UserError: a wrong recipe or setting, or a folder that holds something else.
        Interrupted: a signal; what was computed is kept.
    """
    return run(
        SweepRecipe.load(path, overrides), folder or Path("runs") / f"sweep-{path.stem}", workers, console
    )


def run(recipe: SweepRecipe, folder: Path, workers: int = 1, console: Console | None = None) -> Path:
    """The same for a recipe in memory."""
    console = console or Console(soft_wrap=True)
    search.refuse_missing(recipe)
    opened = storage.open_folder(folder, recipe)
    describe(opened, workers, console)
    trials = SweepTrials(opened, console)
    if workers > 1:
        run_workers(trials, WORKER, workers, console)
    else:
        work(trials)
    page, sentences = write_sweep_page(opened)
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False)
    console.print(f"report: {page}", markup=False, highlight=False)
    return page


def describe(sweep: Sweep, workers: int, console: Console) -> None:
    """Say what will be run."""
    recipe = sweep.recipe
    trials = sweep.search_trials()
    done = sum(sweep.outcome(trial) is not None for trial in trials)
    tested = (1 + min(recipe.confirm.top, recipe.count)) * recipe.confirm.seeds if recipe.confirm.top else 0
    console.print(
        f"sweep by {recipe.metric} ({recipe.better} is better): {recipe.count} settings, {len(recipe.seeds)} "
        f"seeds each, {done} of {len(trials)} trials done; then up to {tested} runs confirm; "
        f"{workers} workers here",
        highlight=False,
    )
