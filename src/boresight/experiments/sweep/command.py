"""The command `boresight sweep`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from boresight.config.recipe_files import recipe_stem
from boresight.core.wording import plural
from boresight.experiments.engine.processes import run_workers
from boresight.experiments.engine.worker import work
from boresight.experiments.sweep.page import write_sweep_report
from boresight.experiments.sweep.recipe import SweepRecipe, replaced_by_set
from boresight.experiments.sweep.search import require_optuna
from boresight.experiments.sweep.storage import Sweep, open_sweep
from boresight.experiments.sweep.trials import SweepTrials

WORKER = "boresight.experiments.sweep.worker"
"""Module that a worker process runs."""


def run_sweep(
    path: Path, overrides: list[str], folder: Path | None, workers: int, console: Console
) -> tuple[Path, list[str]]:
    """Start, join or continue a sweep and run it to its end; return the path of its report and its sentences.

    The default folder has no time in its name: the same command continues where it stopped, and adds workers
    when it is run on another machine with access to the folder.

    Raises:
        UserError: a wrong recipe or setting, or a folder that contains something else.
        Interrupted: after Ctrl-C or SIGTERM; what was computed is kept.
    """
    recipe = SweepRecipe.load(path, overrides)
    return run_sweep_recipe(recipe, folder or Path("runs") / f"sweep-{recipe_stem(path)}", console, workers)


def run_sweep_recipe(
    recipe: SweepRecipe, folder: Path, console: Console, workers: int = 1
) -> tuple[Path, list[str]]:
    """Start, join or continue a sweep, as `run_sweep` does, with a recipe that is already loaded."""
    require_optuna(recipe)
    sweep = open_sweep(folder, recipe)
    for line in replaced_by_set(recipe):
        console.print(line, markup=False, highlight=False)
    print_overview(sweep, workers, console)
    trials = SweepTrials(sweep, console)
    if workers > 1:
        run_workers(trials, WORKER, workers, console)
    else:
        work(trials)
    page, sentences = write_sweep_report(sweep)
    for line in (*sentences, f"report: {page}"):
        console.print(line, markup=False, highlight=False)
    return page, sentences


def print_overview(sweep: Sweep, workers: int, console: Console) -> None:
    """Print how many trials the sweep has and how many are done."""
    recipe, trials = sweep.recipe, sweep.search_trials()
    done = sum(sweep.outcome(trial) is not None for trial in trials)
    tested = (1 + min(recipe.confirm.top, recipe.count)) * recipe.confirm.seeds if recipe.confirm.top else 0
    console.print(
        f"sweep by {recipe.metric} ({recipe.better} is better): {plural(recipe.count, 'setting')}, "
        f"{plural(len(recipe.seeds), 'seed')} each, {done} of {plural(len(trials), 'trial')} done; "
        f"then up to {plural(tested, 'run')} to confirm; {plural(workers, 'worker')} here",
        highlight=False,
    )
