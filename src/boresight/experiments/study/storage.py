"""A study's folder: an ordinary run folder for every arm and seed, and the report.

    settings.yaml                  all resolved recipes; the folder is closed to others
    environment.json               versions, machine, commit
    start/answers.jsonl            answers of the start model
    dpo-tuned-seed0/check.json     preflight check before training
    dpo-tuned-seed0/run/           the run
    dpo-tuned-seed0/answers.jsonl  answers of the trained model
    dpo-tuned-seed0/outcome.json   written last: finished, or why it failed
    report/                        index.html, results.md, results.csv, figures/

There is no other state: after a kill, the same command continues from this folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight.config.dotted import as_yaml, differences
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import read_state, write_text
from boresight.experiments.engine.folder import ExperimentFolder
from boresight.experiments.study import plan as plans
from boresight.experiments.study.plan import ArmRun, StudyPlan
from boresight.reports.facts import texts
from boresight.runs.folder import RunFolder

START = "start"
"""Folder of the start model's answers, and its name among the arms."""


@dataclass(frozen=True)
class ArmOutcome:
    """How a run ended. `seconds` is the time of all attempts; `why` is empty unless the run failed."""

    seconds: float
    why: str = ""

    @property
    def finished(self) -> bool:
        """Whether it has a result."""
        return not self.why


@dataclass(frozen=True)
class Study(ExperimentFolder[ArmRun, ArmOutcome]):
    """A plan and the folder of its runs. Paths in the plan are relative to `here`."""

    plan: StudyPlan
    here: Path
    folder: Path

    shared = False
    retries_failed = True
    sums_seconds = True
    outcome_class = ArmOutcome

    def start_of(self, run: ArmRun) -> ArmRun | None:
        """The run whose model this one starts from; None if that is the recipe's model."""
        arm = self.plan.arms[run.arm].starts_from
        return ArmRun(arm, run.seed) if arm else None

    def recipe(self, run: ArmRun) -> Recipe:
        """The recipe of a run, with its start model."""
        start = self.start_of(run)
        return plans.arm_recipe(self.plan, self.here, run, str(self.run_folder(start)) if start else None)

    def is_asked(self, run: ArmRun) -> bool:
        """Whether the trained model answers the held-out prompts."""
        section = self.plan.answers
        return section is not None and self.plan.arms[run.arm].group in section.groups

    def keeps_weights(self, run: ArmRun) -> bool:
        """Whether the trained weights are kept: if the plan says so, or if another arm starts from them."""
        is_start = any(arm.starts_from == run.arm for arm in self.plan.arms.values())
        return is_start or self.plan.arms[run.arm].keep_weights


def read_state_if_there(path: Path) -> dict[str, Any] | None:
    """The object in a state file; None if there is none. Raises `UserError` if it is torn or was edited."""
    return read_state(path) if path.exists() else None


def open_study(plan: StudyPlan, here: Path, folder: Path) -> Study:
    """Begin a study in `folder`, or continue the one there.

    Raises:
        UserError: the folder holds something else, or a study with other settings, and which differ.
    """
    run_folder = _run_folder(folder)
    run_folder.refuse_foreign()
    old, new = run_folder.recipe(), plans.resolved_settings(plan, here)
    if old is not None:
        refuse_other(folder, old, new)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.write_environment()
        write_text(run_folder.recipe_file, as_yaml(new))
    return Study(plan, here, folder)


def study_settings(folder: Path) -> dict[str, Any] | None:
    """All settings of the study in a folder; None if there is none. Raises `UserError`."""
    return _run_folder(folder).recipe()


def _run_folder(folder: Path) -> RunFolder:
    return RunFolder(folder, "study", section="recipes", recipe_name="settings.yaml")


def refuse_other(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise a `UserError` that names the first setting in which two studies differ."""
    differing = differences(texts(old), texts(new), absent="absent")
    if not differing:
        return
    key, (was, now) = next(iter(differing.items()))
    more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
    raise UserError(
        f"{folder}: holds a study with other settings: {key.removeprefix('recipes.')} was {was} and is "
        f"{now}{more}; put it back, or give another folder with --run."
    )
