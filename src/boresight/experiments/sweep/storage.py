"""A sweep's folder, which all its workers share, on one machine or several.

    sweep.yaml                    the resolved sweep, with the recipe that it varies
    settings/03.json              setting 3, as drawn by a search (grids and lists are known beforehand)
    trials/03-seed0/run/          an ordinary run folder
    trials/03-seed0/outcome.json  how the trial ended; written once
    trials/03-seed0/output.txt    printed output of the run
    trials/confirm-03-seed1000/   the same setting with a fresh seed and unseen prompts

There is no other state: after a kill, the same command continues from this folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from boresight.config.dotted import differences
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import create_state, create_text, read_state
from boresight.experiments.engine.duplicate_prompts import same_prompts_of
from boresight.experiments.engine.folder import ExperimentFolder
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.experiments.sweep.space import SweepSetting, setting_in_words
from boresight.runs.folder import RunFolder
from boresight.stats.intervals import Value
from boresight.stats.paired import SamePrompts, one_per_prompt

State = Literal["finished", "pruned", "stopped", "failed"]


@dataclass(frozen=True)
class Trial:
    """One run: a setting (by number; None is the default) and a seed, in the search or the confirmation."""

    setting: int | None
    seed: int
    confirms: bool = False

    @property
    def name(self) -> str:
        """Name of the trial's folder."""
        number = "default" if self.setting is None else f"{self.setting:02d}"
        return f"{'confirm-' if self.confirms else ''}{number}-seed{self.seed}"


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended.

    `value` is the held-out mean, for a pruned trial that of its last evaluation. It is None for a failed
    trial, and for a trial that the guard stopped, since that one ends with the model of an earlier step.
    `why` is one sentence.
    """

    state: State
    value: float | None
    seconds: float
    why: str = ""
    attempts: int = 1

    @property
    def finished(self) -> bool:
        """Whether the trial ran to its end and has a value."""
        return self.state == "finished"

    @property
    def failed(self) -> bool:
        """Whether an error ended the trial."""
        return self.state == "failed"


class Sweep(ExperimentFolder[Trial, TrialOutcome]):
    """A sweep: its recipe, and the folder of its trials."""

    jobs_below = "trials"
    shared = True
    retries_failed = False
    sums_seconds = False
    outcome_class = TrialOutcome

    def __init__(self, folder: Path, recipe: SweepRecipe) -> None:
        self.folder, self.recipe = folder, recipe
        self._planned = recipe.planned()

    def setting(self, number: int | None) -> SweepSetting | None:
        """Return a setting by its number, or None if the search has not drawn it yet. The default is {}."""
        if number is None:
            return {}
        if self._planned:
            return self._planned[number]
        path = self._drawn(number)
        return read_state(path) if path.exists() else None

    def keep_setting(self, number: int, setting: SweepSetting) -> SweepSetting:
        """Store a drawn setting, unless another worker has stored one first; return the stored setting."""
        self._drawn(number).parent.mkdir(exist_ok=True)
        create_state(self._drawn(number), setting)
        return read_state(self._drawn(number))

    def in_words(self, number: int | None) -> str:
        """Describe a setting in words."""
        return setting_in_words(None if number is None else self.setting(number))

    def search_trials(self) -> list[Trial]:
        """Return the trials of the search: every setting with every seed."""
        return [trial for number in range(self.recipe.count) for trial in self.trials_of(number)]

    def trials_of(self, number: int) -> list[Trial]:
        """Return the trials of one setting in the search."""
        return [Trial(number, seed) for seed in self.recipe.seeds]

    def recipe_of(self, trial: Trial) -> Recipe:
        """Return the recipe of a trial. Search and confirmation use different halves of the held-out
        prompts."""
        split_seed = self.recipe.base().split_seed
        half = "confirmation" if trial.confirms else "selection"
        own = {"train.seed": trial.seed, "data.split_seed": split_seed, "data.eval_half": half}
        return self.recipe.recipe_with({**(self.setting(trial.setting) or {}), **own})

    def by_prompt(self, trial: Trial) -> dict[str, Value]:
        """Return the metric after training by prompt: NaN where missing, empty if it was not measured.

        The keys are held-out rows if the run does not store which rows share a prompt, as in earlier
        versions.
        """
        numbers = read_state(self.run_folder(trial) / "end.json", types={"numbers": dict})["numbers"]
        by_row = {key: float(value) for key, value in numbers.get(self.recipe.metric, {}).items()}
        same = same_prompts_of(self.run_folder(trial)) or SamePrompts()
        return dict[str, Value](one_per_prompt(by_row, same.of(self.recipe.metric)))

    def units_of(self, trial: Trial) -> str:
        """Return `prompts`, or `rows` if the run does not store which held-out rows share a prompt."""
        return "rows" if same_prompts_of(self.run_folder(trial)) is None else "prompts"

    def stopped(self, trial: Trial) -> bool:
        """Whether the guard stopped a trial."""
        outcome = self.outcome(trial)
        return outcome is not None and outcome.state == "stopped"

    def _drawn(self, number: int) -> Path:
        return self.folder / "settings" / f"{number:02d}.json"


def held_out_mean(values: Mapping[str, Value]) -> float | None:
    """Return the mean of the values that are not missing, or None if all are missing."""
    known = [float(v) for v in values.values() if v is not None and not math.isnan(v)]
    return math.fsum(known) / len(known) if known else None


def open_sweep(folder: Path, recipe: SweepRecipe) -> Sweep:
    """Start the sweep in `folder`, or join the one there.

    Raises:
        UserError: the folder contains something else, or a sweep by another recipe.
    """
    run_folder = RunFolder(folder, "sweep", section="metric", recipe_name="sweep.yaml")
    run_folder.refuse_foreign()
    folder.mkdir(parents=True, exist_ok=True)
    create_text(run_folder.recipe_file, recipe.to_yaml())
    differing = list(differences(run_folder.recipe() or {}, recipe.to_dict()))
    if differing:
        raise UserError(
            f"{folder}: holds a sweep whose {', '.join(differing[:4])} differs; put it back, or give another "
            "folder with --run."
        )
    return Sweep(folder, recipe)


def join(folder: Path) -> Sweep:
    """Open the sweep in `folder` for a worker."""
    return Sweep(folder, SweepRecipe.load(folder / "sweep.yaml"))
