"""Estimate the time and the cost of a plan from earlier runs of its arms on this machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import read_state
from boresight.core.wording import format_duration
from boresight.experiments.study import plan as plans
from boresight.experiments.study.plan import ArmRun, StudyPlan
from boresight.experiments.study.storage import Study, differing_settings, study_settings
from boresight.reports.machine_use import MachineUse
from boresight.reports.read_run import read_run
from boresight.runs.check.preflight import steps_of
from boresight.runs.environment import environment

MACHINE = ("processor", "cores", "gpu")
"""Keys of `environment.json` that must be equal for two machines to count as the same."""


@dataclass(frozen=True)
class ExpectedCost:
    """Expected time and cost of a plan.

    `seconds` is the time of each arm over all its seeds; None if the arm has not run on this machine.
    """

    seconds: dict[str, float | None]
    usd_per_hour: float | None

    def in_words(self) -> list[str]:
        """Return one sentence on the time, and one on the cost."""
        known = [seconds for seconds in self.seconds.values() if seconds is not None]
        unknown = [name for name, seconds in self.seconds.items() if seconds is None]
        if not known:
            time = "expected time: unknown, since no arm of this plan has been measured on this machine"
            return [f"{time}.", "expected cost: unknown."]
        total = math.fsum(known)
        of_arms = f"of {len(known)} of {len(self.seconds)} arms" if unknown else "of all arms"
        rest = f"; not measured on this machine: {', '.join(unknown)}" if unknown else ""
        time = f"expected time {of_arms}: {format_duration(total)}{rest}."
        if self.usd_per_hour is None:
            return [time, "expected cost: unknown; set usd_per_gpu_hour in the plan."]
        dollars = total / 3600 * self.usd_per_hour
        return [time, f"expected cost {of_arms}: ${dollars:,.2f} at ${self.usd_per_hour:g} per GPU hour."]


def expected_cost(plan: StudyPlan, here: Path, folder: Path, only: Sequence[str] = ()) -> ExpectedCost:
    """Estimate the cost of the plan's arms from the study in `folder`, if it ran on this machine.

    The time of an arm is the mean over its finished runs with the same settings, times its number of seeds.
    If no run has finished, the time per step of an interrupted run is multiplied by the steps of the recipe.
    """
    study, recipes = Study(plan, here, folder), _measured_recipes(folder)
    seconds = {name: _seconds(study, name, recipes) for name in only or plan.arms}
    return ExpectedCost(seconds, plan.usd_per_gpu_hour)


def print_expected_cost(
    plan: StudyPlan, here: Path, folder: Path, only: Sequence[str], console: Console
) -> None:
    """Print the expected cost of the plan's arms."""
    for line in expected_cost(plan, here, folder, only).in_words():
        console.print(line, markup=False, highlight=False)


def _measured_recipes(folder: Path) -> dict[str, Any]:
    """Read the recipes of the runs in a study's folder, by name; empty if another machine ran them."""
    path = folder / "environment.json"
    if not path.exists():
        return {}
    there, now = read_state(path), environment()
    if any(there.get(name) != now[name] for name in MACHINE):
        return {}
    return (study_settings(folder) or {}).get("recipes", {})


def _seconds(study: Study, name: str, recipes: Mapping[str, Any]) -> float | None:
    """Return the expected seconds of an arm over all its seeds; None if no run of it was measured with these
    settings."""
    seeds = study.plan.arms[name].seeds
    runs = [run for run in (ArmRun(name, seed) for seed in seeds) if _is_same(study, run, recipes)]
    ended = [o.seconds for run in runs if (o := study.outcome(run)) is not None and o.finished]
    each = fmean(ended) if ended else next(filter(None, (_by_steps(study, run) for run in runs)), None)
    return None if each is None else each * len(seeds)


def _is_same(study: Study, run: ArmRun, recipes: Mapping[str, Any]) -> bool:
    """Whether a run in the folder has the settings of the plan, by the test that lets a study continue."""
    now = plans.arm_recipe(study.plan, study.here, run).to_dict()
    if run.name not in recipes:
        return False
    return not differing_settings(Recipe.completed(recipes[run.name]), now)


def _by_steps(study: Study, run: ArmRun) -> float | None:
    """Return the seconds of all steps of a run, extrapolated from the logged ones; None if there are none."""
    recipe = plans.arm_recipe(study.plan, study.here, run)
    steps = steps_of(recipe, recipe.data.limit)
    if steps is None or not (study.run_folder(run) / "metrics.jsonl").exists():
        return None
    try:
        log = read_run(study.run_folder(run))
    except UserError:  # cut short before it wrote anything that can be read
        return None
    seconds = MachineUse.of(log).seconds
    return seconds / len(log.train) * steps if seconds and log.train else None
