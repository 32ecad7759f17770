"""A study's folder: an ordinary run folder for every arm and seed, and the report.

    settings.yaml                  all resolved settings; a study with other settings is refused
    environment.json               versions, machine, commit
    start/answers.jsonl            answers of the start model
    dpo-tuned-seed0/check.json     preflight check before training
    dpo-tuned-seed0/run/           the run
    dpo-tuned-seed0/answers.jsonl  answers of the trained model
    dpo-tuned-seed0/outcome.json   written last: finished, or why it failed or was stopped by the guard
    report/                        index.html, results.md, results.csv, figures/

There is no other state: after a kill, the same command continues from this folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight.config.dotted import as_yaml, differences
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import read_state, write_text
from boresight.experiments.engine.folder import ExperimentFolder
from boresight.experiments.study import plan as plans
from boresight.experiments.study.blocks import Block
from boresight.experiments.study.outcomes.file import outcome_path, read_header
from boresight.experiments.study.outcomes.settings import outcome_settings, resolved_settings, start_settings
from boresight.experiments.study.plan import ArmRun, StudyPlan
from boresight.reports.facts import texts
from boresight.runs.folder import RunFolder


@dataclass(frozen=True)
class ArmOutcome:
    """How a run ended. `seconds` is the time of all attempts; `why` is empty if the run has a result.

    A run that the guard stopped has no result, since it ends with the model of an earlier step.
    """

    seconds: float
    why: str = ""
    stopped: bool = False
    """Whether the guard stopped the run."""

    @property
    def finished(self) -> bool:
        """Whether the run has a result."""
        return not self.why

    @property
    def failed(self) -> bool:
        """Whether an error ended the run."""
        return bool(self.why) and not self.stopped


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
        """Return the run whose model this one starts from; None if it starts from the recipe's model."""
        return plans.start_run(self.plan, run)

    def recipe(self, run: ArmRun) -> Recipe:
        """Return the recipe of a run, with the folders of its start model and its reward model filled in."""
        start, judge = self.start_of(run), plans.judge_run(self.plan, run)
        return plans.arm_recipe(self.plan, self.here, run, self.model_of(start), self.model_of(judge))

    def model_of(self, run: ArmRun | None) -> str | None:
        """Return the run folder, by which a recipe can name the run's trained model; None for no run."""
        return None if run is None else str(self.run_folder(run))

    def needs(self, run: ArmRun) -> list[ArmRun]:
        """Return the runs whose models this one starts from, is rewarded by, or is measured by."""
        return plans.needed_runs(self.plan, run)

    def is_here(self, run: ArmRun) -> bool:
        """Whether a run has finished and its folder is on this machine.

        A finished run may lack a folder if its results were measured on another machine.
        """
        return self.finished(run) and self.run_folder(run).is_dir()

    def was_trained(self, run: ArmRun) -> bool:
        """Whether a run finished or was stopped by the guard, and its folder is on this machine."""
        outcome = self.outcome(run)
        return outcome is not None and not outcome.failed and self.run_folder(run).is_dir()

    def stopped(self, arm: str) -> list[ArmRun]:
        """Return the runs of an arm that the guard stopped."""
        runs = [ArmRun(arm, seed) for seed in self.plan.arms[arm].seeds]
        return [run for run in runs if (outcome := self.outcome(run)) is not None and outcome.stopped]

    def is_open(self, run: ArmRun) -> bool:
        """Whether a run is still to be trained: it has not ended, or an error ended it."""
        outcome = self.outcome(run)
        return outcome is None or outcome.failed

    def is_asked(self, run: ArmRun) -> bool:
        """Whether the trained model of a run is to answer the plan's held-out prompts."""
        section = self.plan.answers
        return section is not None and self.plan.arms[run.arm].group in section.groups

    def keeps_weights(self, run: ArmRun) -> bool:
        """Whether the trained weights of a run are kept: the plan sets it, or another arm needs them."""
        return self._is_needed(run) or self.plan.arms[run.arm].keep_weights

    def _is_needed(self, run: ArmRun) -> bool:
        """Whether another arm starts from the arm of a run, or is rewarded or measured by it."""
        arms, blocks = self.plan.arms.values(), self.plan.blocks.values()
        by_arms = [needed for arm in arms for needed in (arm.starts_from, arm.rewarded_by)]
        return run.arm in (*by_arms, *(needed for block in blocks for needed in (block.start, block.judge)))

    def block_of(self, run: ArmRun) -> Block | None:
        """Return the block of a run's arm; None if it has none."""
        name = self.plan.arms[run.arm].block
        return None if name is None else self.plan.blocks[name]

    def start_of_block(self, block: Block) -> ArmRun | None:
        """Return the run that trains the start model of a block; None if the block names a model itself."""
        arm = self.plan.arms.get(block.start)
        return None if arm is None else ArmRun(block.start, arm.seeds[0])

    def outcome_file(self, run: ArmRun) -> Path | None:
        """Return the path of the file of results of a run; None for an arm without a block."""
        block = self.plan.arms[run.arm].block
        assert self.plan.outcomes is not None or block is None
        return None if block is None else outcome_path(Path(str(self.plan.outcomes)), block, run)

    def outcome(self, run: ArmRun) -> ArmOutcome | None:
        """Return how a run ended; None while it is open.

        A run of a block has finished if its file of results exists, which may be from another machine. It is
        open, however, while its weights are not in this folder and another arm needs them.
        """
        path, ended = self.outcome_file(run), super().outcome(run)
        if path is None or (ended is not None and not ended.finished):
            return ended
        lacks_weights = self._is_needed(run) and not (self.run_folder(run) / "model").is_dir()
        if lacks_weights or not path.exists():
            return None
        return ArmOutcome(float(read_header(path)["numbers"].get("seconds", 0.0)))


def read_state_if_there(path: Path) -> dict[str, Any] | None:
    """Read a state file; None if it does not exist. Raises `UserError` if it is torn or was edited."""
    return read_state(path) if path.exists() else None


def open_study(plan: StudyPlan, here: Path, folder: Path) -> Study:
    """Begin a study in `folder`, or continue the one there.

    Raises:
        UserError: the folder contains something else, or there is a study or a file of results with other
            settings; the message names the first setting that differs.
    """
    run_folder = _run_folder(folder)
    run_folder.refuse_foreign()
    old, new, study = run_folder.recipe(), resolved_settings(plan, here), Study(plan, here, folder)
    if old is not None:
        refuse_other(folder, old, new)
    refuse_other_outcomes(study)
    if old is None:
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.write_environment()
    write_text(run_folder.recipe_file, as_yaml(new))
    return study


def refuse_other_outcomes(study: Study) -> None:
    """Raise a `UserError` for the first file of results that was measured with other settings."""
    for path, wanted in _outcome_settings(study):
        if not path.exists():
            continue
        if differing := differing_settings(_completed(read_header(path)["settings"]), wanted):
            key, (was, now) = next(iter(differing.items()))
            raise UserError(
                f"{path}: holds results with other settings: {key} was {was} and is {now}; put it back, "
                "or give another folder with outcomes=…"
            )


def _completed(settings: dict[str, Any]) -> dict[str, Any]:
    """Add to the settings of results the fields that later versions have, with their defaults."""
    completed = dict(settings)
    if isinstance(settings.get("recipe"), dict):
        completed["recipe"] = Recipe.completed(settings["recipe"])
    if isinstance(settings.get("block"), dict):
        completed["block"] = {"judge": None, "pairs": None} | settings["block"]
    inner = [name for name in ("start", "judge", "block_judge") if isinstance(settings.get(name), dict)]
    return completed | {name: _completed(settings[name]) for name in inner}


def differing_settings(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[Any]]:
    """Return `[old, new]` of each setting that differs, by dotted name.

    `train.tokens_per_forward` is ignored, since no result depends on it.
    """
    found = differences(texts(old), texts(new), absent="absent")
    return {key: values for key, values in found.items() if not key.endswith("train.tokens_per_forward")}


def _outcome_settings(study: Study) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the path and settings of every file of results of the plan, those of start models first."""
    plan, here = study.plan, study.here
    for name in plan.blocks:
        yield outcome_path(Path(str(plan.outcomes)), name, None), start_settings(plan, here, name)
    for run in plans.arm_runs(plan):
        if (path := study.outcome_file(run)) is not None:
            yield path, outcome_settings(plan, here, run)


def study_settings(folder: Path) -> dict[str, Any] | None:
    """Read all settings of the study in a folder; None if there is no study."""
    return _run_folder(folder).recipe()


def _run_folder(folder: Path) -> RunFolder:
    return RunFolder(folder, "study", section="recipes", recipe_name="settings.yaml")


def refuse_other(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise a `UserError` that names the first setting in which two studies differ. Runs may be added."""
    added = {part: new.get(part, {}).keys() - old.get(part, {}).keys() for part in ("recipes", "starts_from")}
    known = {**new, **{part: _without(new[part], names) for part, names in added.items() if names}}
    recipes = {name: Recipe.completed(recipe) for name, recipe in old.get("recipes", {}).items()}
    differing = differing_settings({**old, "recipes": recipes}, known)
    if not differing:
        return
    key, (was, now) = next(iter(differing.items()))
    more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
    raise UserError(
        f"{folder}: holds a study with other settings: {key.removeprefix('recipes.')} was {was} and is "
        f"{now}{more}; put it back, or give another folder with --run."
    )


def _without(part: dict[str, Any], names: Set[str]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name not in names}
