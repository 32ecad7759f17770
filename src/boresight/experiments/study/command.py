"""What `boresight study` does with its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from boresight.core.errors import UserError
from boresight.experiments.study import plan as plans
from boresight.experiments.study import storage
from boresight.experiments.study.arms import run_arms
from boresight.experiments.study.plan import Plan
from boresight.experiments.sweep.table import time_in_words
from boresight.reports.tables.files import pipe_table

RECIPES = Path("recipes/study")


def study(
    scale: str, plan: Path | None, folder: Path | None, only: Sequence[str], listed: bool, console: Console
) -> int:
    """Carry out a plan, or print it; returns how many arms failed.

    The folder has no time in its name, so the same command goes on where it stopped; when everything is
    finished it writes the report again.

    Raises:
        UserError: a wrong plan or recipe, or a folder that holds something else.
        Interrupted: a signal; what was computed is kept.
    """
    path = plan or plan_of(scale)
    loaded = Plan.load(path)
    plans.refuse_unknown_arms(loaded, list(only))
    if listed:
        console.print(listing(loaded, path.parent, only), markup=False, highlight=False, soft_wrap=True)
        return 0
    opened = storage.open_folder(loaded, path.parent, folder or Path("runs") / f"study-{path.stem[5:]}")
    try:
        run_arms(opened, console, only)
    finally:
        write_report(opened, console)
    return sum(bool(o and o.failed) for o in map(opened.outcome, plans.arm_runs(loaded)))


def plan_of(scale: str) -> Path:
    """The plan of a scale. Raises `UserError`."""
    path = RECIPES / f"plan-{scale}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem.removeprefix("plan-") for p in RECIPES.glob("plan-*.yaml")))
        where = f"known: {known}" if known else "run it from the repository, where recipes/study is"
        raise UserError(f"--scale: there is no plan {path} here; {where}, or name a plan with --plan.")
    return path


def listing(plan: Plan, here: Path, only: Sequence[str] = ()) -> str:
    """The plan as a table, with the time it takes."""
    rows, total = [], 0.0
    for name, arm in plan.arms.items():
        if only and name not in only:
            continue
        recipe = plans.recipe_of(plan, here, plans.ArmRun(name, arm.seeds[0]))
        minutes = arm.minutes * len(arm.seeds)
        total += minutes
        rows.append(
            [
                name,
                recipe.method_name,
                "LoRA" if recipe.model.lora else "all weights",
                f"{recipe.optim.lr:g}",
                str(recipe.train.steps or f"{recipe.train.epochs or 1:g} epochs"),
                str(recipe.train.batch),
                ", ".join(map(str, arm.seeds)),
                time_in_words(60 * minutes),
            ]
        )
    head = ["arm", "method", "trains", "lr", "steps", "batch", "seeds", "about"]
    return f"{plan.title}: about {time_in_words(60 * total)}\n\n{pipe_table(head, rows)}"


def write_report(study: storage.Study, console: Console) -> None:
    """Write the report of whatever has finished."""
    from boresight.experiments.study.page import write

    console.print(f"report: {write(study)}", markup=False, highlight=False)
