"""A study's folder: an ordinary run folder for every arm and seed, and what was made of them.

    settings.yaml                  every recipe, resolved; another one is refused here
    environment.json               versions, machine, commit
    start/answers.jsonl            what the start model answers
    dpo-tuned-seed0/check.json     what `boresight check` says before it is trained
    dpo-tuned-seed0/run/           the run
    dpo-tuned-seed0/answers.jsonl  what the trained model answers
    dpo-tuned-seed0/outcome.json   written last: this arm is finished, or why it failed
    report/                        index.html, results.md, results.csv, figures/

Nothing is kept anywhere else, so whatever is killed, the folder says what is left to do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight.config.dotted import as_yaml, differences
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import write_text
from boresight.experiments.engine.folder import ExperimentFolder
from boresight.experiments.study import plan as plans
from boresight.experiments.study.plan import ArmRun, Plan
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
    def failed(self) -> bool:
        """Whether it has no result."""
        return bool(self.why)


@dataclass(frozen=True)
class Study(ExperimentFolder[ArmRun, ArmOutcome]):
    """A plan and the folder of its runs. Paths in the plan are relative to `here`."""

    plan: Plan
    here: Path
    folder: Path

    shared = False
    retries_failed = True
    sums_seconds = True
    outcome_class = ArmOutcome

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.folder / "report"

    def start_of(self, run: ArmRun) -> ArmRun | None:
        """The run whose model this one starts from; None if that is the recipe's model."""
        arm = self.plan.arms[run.arm].starts_from
        return ArmRun(arm, run.seed) if arm else None

    def recipe(self, run: ArmRun) -> Recipe:
        """The recipe of a run, with its start model."""
        start = self.start_of(run)
        return plans.recipe_of(self.plan, self.here, run, str(self.run_folder(start)) if start else None)

    def is_asked(self, run: ArmRun) -> bool:
        """Whether the trained model answers the held-out prompts."""
        section = self.plan.answers
        return section is not None and self.plan.arms[run.arm].group in section.groups

    def keeps_weights(self, run: ArmRun) -> bool:
        """Whether the trained weights are kept: if the plan says so, or if another arm starts from them."""
        is_start = any(arm.starts_from == run.arm for arm in self.plan.arms.values())
        return is_start or self.plan.arms[run.arm].keep_weights


def read_json(path: Path) -> Any:
    """What `write_json` wrote; None where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def open_folder(plan: Plan, here: Path, folder: Path) -> Study:
    """Begin a study in `folder`, or go on with the one there.

    Raises:
        UserError: the folder holds something else, or a study with other settings; names what differs.
    """
    run_folder = RunFolder(folder, "study", section="recipes", recipe_name="settings.yaml")
    run_folder.refuse_foreign()
    old, new = run_folder.recipe(), plans.resolved(plan, here)
    if old is not None:
        refuse_other(folder, old, new)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.write_environment()
        write_text(run_folder.recipe_file, as_yaml(new))
    return Study(plan, here, folder)


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
