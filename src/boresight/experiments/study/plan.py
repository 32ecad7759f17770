"""The plan of a study: its arms, what is compared with what, and which curves are drawn.

    plan = StudyPlan.load("study/plan-cpu")

Plans are data. An arm is a recipe, changes to it, and its seeds; the rest of a plan is text and names of
arms.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from boresight.config.base import BaseRecipe
from boresight.config.dotted import flat, put
from boresight.config.recipe import Recipe
from boresight.config.recipe_files import recipe_from
from boresight.config.reward import as_reward_list
from boresight.config.section import Section
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.data.demo import data_path, split_name
from boresight.experiments.study.blocks import START, Block, Deviation, PlannedQuestion
from boresight.experiments.study.metrics import METRICS
from boresight.scorers.rewards import check_rewards

FOLDER_NAME = re.compile(r"\w[\w.+-]*")
"""Pattern of the names of arms and blocks, which are also names of folders."""

SET_BY_STUDY = {
    "train.seed": "an arm is trained with each of its `seeds`; change those",
    "data.split_seed": "all runs of a study train on the same rows; remove it",
}
"""Keys of a recipe that a study sets in every run, each with the reason and what to do."""

Role = Literal["published", "tuned", "other"]


class Arm(Section):
    """One recipe of the comparison."""

    title: str
    """Name in tables and legends."""
    group: str
    """Name of the group whose table lists the arm."""
    role: Role = "other"
    """`published`: with the settings of the published study; `tuned`: with the settings that evidence
    supports."""
    recipe: str
    """Recipe of the arm: a path relative to the plan's folder, or a name."""
    set: dict[str, Any] = {}
    """Changes to the recipe, by dotted key. `{seed}` in a text is replaced by the seed, as in
    `pairs-{seed}.jsonl`."""
    seeds: list[int] = Field(default=[0], min_length=1)
    """Seeds of the runs, one run for each, all on the same rows."""
    starts_from: str | None = None
    """Name of the arm whose trained model of the same seed this arm starts from; null: the recipe's model."""
    rewarded_by: str | None = None
    """Name of an arm that trains a reward model; its scores, seed by seed, are the reward of this arm. The
    rewards of the recipe are then measured only. null: the rewards of the recipe are the reward."""
    keep_weights: bool = True
    """Whether to keep the trained weights after the arm has been measured."""
    shrunk: str = ""
    """How the arm is smaller than in the published study, as text."""
    minutes: float = Field(default=1.0, gt=0)
    """Estimated duration of one run, in minutes."""
    block: str | None = None
    """Name of the block whose start model the arm trains and whose test prompts it answers; null: none."""
    verifier_calls: int = Field(default=0, ge=0)
    """Number of verifier calls spent on the arm's data before the run, for example to label pairs."""


class Group(Section):
    """A table of arms with the same metrics."""

    title: str
    metrics: list[str]
    """Names of metrics in `study.metrics`, one column of the table for each."""
    about: str = ""
    """A sentence under the table."""


class ArmComparison(Section):
    """Arm `to` minus arm `of`, paired by seed and prompt; or several such pairs of arms taken together."""

    title: str
    of: list[str] = Field(min_length=1)
    to: list[str] = Field(min_length=1)
    """As many arms as in `of`: the first is compared with the first of `of`, and so on. Several differences
    are averaged by prompt."""
    metrics: list[str] = ["accuracy", "win_rate"]
    headline: bool = True
    """Whether the sentence at the top of the report counts the comparison."""

    @field_validator("of", "to", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _in_pairs(self) -> ArmComparison:
        if len(self.of) != len(self.to):
            raise ValueError(f"of names {len(self.of)} arms and to {len(self.to)}; both need as many")
        return self


class Guide(Section):
    """A horizontal line in a figure, drawn at the value `at` for comparison."""

    at: float
    label: str


class PlannedFigure(Section):
    """Curves of one logged number, one color per arm."""

    title: str
    metric: str
    """A key of metrics.jsonl."""
    split: Literal["train", "eval"] = "train"
    unit: str = ""
    arms: list[str] = Field(min_length=1)
    guide: Guide | None = None
    reading: str = ""
    """Caption: how to read the figure, and the result of the study."""


class StudyAnswers(Section):
    """Held-out prompts that the trained models of some groups answer."""

    groups: list[str]
    """Names of the groups whose arms answer the prompts."""
    prompts: str
    """A file of prompts with checkable constraints."""
    start: str
    """The start model, for the first line of the table and the page."""
    check: str = "good_answer"
    """Name of the check whose result, 1 or 0, is the reward of an answer."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Maximum length of an answer, in tokens; decoding is greedy."""
    shown: list[str] = []
    """Arms whose answers the page shows next to those of the start model."""


class StudyPlan(BaseRecipe):
    """The plan of a study."""

    title: str
    about: str = ""
    """A paragraph at the top of the report."""
    shared: dict[str, Any] = {}
    """Not read; a section for YAML anchors."""
    groups: dict[str, Group]
    arms: dict[str, Arm]
    comparisons: list[ArmComparison] = []
    figures: dict[str, PlannedFigure] = {}
    answers: StudyAnswers | None = None
    blocks: dict[str, Block] = {}
    questions: list[PlannedQuestion] = []
    """Confirmatory questions, which are decided together as one family."""
    outcomes: str | None = None
    """Folder of the results by prompt, one file for each arm of a block and seed; needed with blocks. The
    page is written beside it: `docs/mine/index.html` for `docs/mine/outcomes`."""
    protocol: str | None = None
    """Path of the study protocol, a text written before any result; the page links to it."""
    deviations: list[Deviation] = []
    """Deviations from the protocol, all shown on the page."""
    usd_per_gpu_hour: float | None = Field(default=None, ge=0)
    """Price of one hour of the GPU that the plan is for, in dollars; null: its cost in dollars is unknown."""

    @model_validator(mode="after")
    def _names_must_exist(self) -> StudyPlan:
        for where, name, known in self._names():
            if name not in known:
                raise ValueError(f"{where} names {name!r}, which does not exist{nearest(name, known)}")
        earlier: dict[str, Arm] = {}
        for name, arm in self.arms.items():
            for needed, how in ((arm.starts_from, "starts from"), (arm.rewarded_by, "is rewarded by")):
                if needed is not None and needed not in earlier:
                    raise ValueError(f"arms.{name} {how} {needed!r}, which must stand before it")
                if needed is not None and not set(arm.seeds) <= set(earlier[needed].seeds):
                    raise ValueError(f"arms.{name} {how} {needed!r}, which lacks one of its seeds")
            earlier[name] = arm
        return self

    @model_validator(mode="after")
    def _changes_must_act(self) -> StudyPlan:
        for name, arm in self.arms.items():
            for key in (key for key in flat(arm.set) if key in SET_BY_STUDY):
                raise ValueError(f"arms.{name}.{key} has no effect, since {SET_BY_STUDY[key]}")
        return self

    @model_validator(mode="after")
    def _blocks_must_fit(self) -> StudyPlan:
        for name in (*self.arms, *self.blocks):
            if not FOLDER_NAME.fullmatch(name) or name == START:
                raise ValueError(f"{name!r}: the name of an arm or block is one of a folder; take letters")
        if self.blocks and self.outcomes is None:
            raise ValueError("blocks need a folder for their results; set outcomes")
        if self.outcomes is not None and Path(self.outcomes).parent == Path():
            raise ValueError(
                f"outcomes is {self.outcomes!r}, and the page is written beside it; name a folder in one, "
                "such as docs/mine/outcomes"
            )
        for name, block in self.blocks.items():
            start = self.arms.get(block.start)
            if start is not None and start.block is not None:
                raise ValueError(f"blocks.{name} starts from arm {block.start!r}, which is in a block itself")
            judge = self.arms.get(block.judge) if block.judge is not None else None
            if judge is not None and judge.block is not None:
                raise ValueError(f"blocks.{name}: its judge {block.judge!r} is in a block itself")
        return self

    @model_validator(mode="after")
    def _questions_must_fit(self) -> StudyPlan:
        for question in self.questions:
            blocks = {self.arms[arm].block for arm in arms_of(question)}
            if None in blocks or len(blocks) > 1:
                raise ValueError(f"question {question.title!r} is not about arms of one block")
            if question.paired and START in (question.of, question.to):
                raise ValueError(f"question {question.title!r} is paired, and the start model has no seeds")
            if question.paired and self.arms[question.of].seeds != self.arms[question.to].seeds:
                raise ValueError(f"question {question.title!r} is paired, and its arms have other seeds")
        return self

    def _names(self) -> list[tuple[str, str, Any]]:
        """Return every reference by name in the plan, as `(field, name, known names)`."""
        found: list[tuple[str, str, Any]] = []
        for name, arm in self.arms.items():
            found.append((f"arms.{name}.group", arm.group, self.groups))
        for name, group in self.groups.items():
            found += [(f"groups.{name}.metrics", metric, METRICS) for metric in group.metrics]
        for c in self.comparisons:
            found += [("comparisons", arm, self.arms) for arm in (*c.of, *c.to)]
            found += [("comparisons", metric, METRICS) for metric in c.metrics]
        for name, figure in self.figures.items():
            found += [(f"figures.{name}.arms", arm, self.arms) for arm in figure.arms]
        for name, arm in self.arms.items():
            found += [(f"arms.{name}.block", arm.block, self.blocks)] if arm.block is not None else []
        for name, block in self.blocks.items():
            found += [(f"blocks.{name}.judge", block.judge, self.arms)] if block.judge is not None else []
        for question in self.questions:
            found += [(f"question {question.title!r}", arm, self.arms) for arm in sorted(arms_of(question))]
        if self.answers:
            found += [("answers.groups", group, self.groups) for group in self.answers.groups]
            found += [("answers.shown", arm, self.arms) for arm in self.answers.shown]
        return found


def arms_of(question: PlannedQuestion) -> set[str]:
    """Return all arms that a question names, without the start model."""
    return {question.of, question.to, *question.pool} - {START}


@dataclass(frozen=True)
class ArmRun:
    """One arm with one seed: one run."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.arm}-seed{self.seed}"


def arm_runs(plan: StudyPlan) -> list[ArmRun]:
    """Return all runs in running order: every arm with its first seed, then with its second, and so on.

    In an interrupted study, every arm then has one run before any arm has two.
    """
    rounds = max(len(arm.seeds) for arm in plan.arms.values())
    return [
        ArmRun(name, arm.seeds[turn])
        for turn in range(rounds)
        for name, arm in plan.arms.items()
        if turn < len(arm.seeds)
    ]


def arm_recipe(
    plan: StudyPlan, here: Path, run: ArmRun, start: str | None = None, judge: str | None = None
) -> Recipe:
    """Return the recipe of one run. `here` is the plan's folder.

    Args:
        start: name or folder of a model that replaces the recipe's model.
        judge: folder of the reward model of an arm with `rewarded_by`; with None, the recipe contains the
            name of the rewarding arm in its place.

    Raises:
        UserError: there is no such recipe, a change is not valid in it, or it uses the block's test data.
    """
    arm = plan.arms[run.arm]
    raw = Recipe.read(recipe_from(here, arm.recipe))
    for key, value in arm.set.items():
        # A copy, because arms may share a value and a later key may change a part of it.
        put(raw, key, _with_seed(deepcopy(value), run.seed))
    put(raw, "train.seed", run.seed)
    # Seeds change the order of rows and the adapters, not which rows are trained on or held out.
    put(raw, "data.split_seed", 0)
    block = plan.blocks.get(arm.block or "")
    if block is not None and arm.starts_from is None and block.start not in plan.arms:
        put(raw, "model.name", block.start)
    if block is not None and block.pairs is not None:
        put(raw, "data.eval", block.pairs)
        put(raw, "data.eval_rows", block.limit)
    if start is not None:
        put(raw, "model.name", start)
    if (rewarding := judge_run(plan, run)) is not None:
        paying = judged_by(judge or f"arm {rewarding.name}")
        measured = as_reward_list(raw.get("reward") or [])
        silent = [one | {"weight": 0} if isinstance(one, dict) else one for one in measured]
        raw["reward"] = [paying, *silent]
    recipe = Recipe.parse(raw, f"arm {run.arm}")
    check_rewards(recipe.reward)
    if block is not None:
        _refuse_test_data(recipe, run.arm, block)
    return recipe


def _with_seed(value: Any, seed: int) -> Any:
    """Replace `{seed}` in a text, and in all texts of lists and dictionaries."""
    if isinstance(value, str):
        return value.replace("{seed}", str(seed))
    if isinstance(value, list):
        return [_with_seed(each, seed) for each in value]
    if isinstance(value, dict):
        return {_with_seed(key, seed): _with_seed(each, seed) for key, each in value.items()}
    return value


def _refuse_test_data(recipe: Recipe, arm: str, block: Block) -> None:
    """Raise a `UserError` if the recipe of an arm trains or evaluates on the test data of its block.

    A block of pairs is itself the evaluation set (`data.eval`) of its arms.
    """
    what = "test prompts" if block.pairs is None else "held-out pairs"
    test = _rows_of(str(block.prompts or block.pairs))
    named: dict[str, list[str | None]] = {
        "data.train": [*recipe.data.sources],
        "data.eval": [recipe.data.eval] if block.pairs is None else [],
        "evaluate.prompts": [recipe.evaluate.prompts],
    }
    for key, sources in named.items():
        if any(source is not None and _rows_of(source) == test for source in sources):
            raise UserError(f"arm {arm}: {key} names the {what} of its block; name others.")


def _rows_of(source: str) -> tuple[Path, str]:
    """Return the path and the split of a data source: sources with the same rows have the same ones."""
    return data_path(source).resolve(), split_name(source)[1]


def start_run(plan: StudyPlan, run: ArmRun) -> ArmRun | None:
    """Return the run whose model this one starts from; None if the recipe or the block names a model.

    It is the run of `starts_from` with the same seed, or the first run of the arm that the block starts from.
    """
    arm = plan.arms[run.arm]
    if arm.starts_from is not None:
        return ArmRun(arm.starts_from, run.seed)
    start = plan.blocks[arm.block].start if arm.block is not None else None
    return ArmRun(start, plan.arms[start].seeds[0]) if start in plan.arms and start is not None else None


def judge_run(plan: StudyPlan, run: ArmRun) -> ArmRun | None:
    """Return the run whose reward model rewards this one; None if the recipe's rewards do."""
    arm = plan.arms[run.arm].rewarded_by
    return None if arm is None else ArmRun(arm, run.seed)


def block_judge_run(plan: StudyPlan, block: Block) -> ArmRun | None:
    """Return the run whose reward model scores all answers of a block; None if the block has no judge."""
    return None if block.judge is None else ArmRun(block.judge, plan.arms[block.judge].seeds[0])


def needed_runs(plan: StudyPlan, run: ArmRun) -> list[ArmRun]:
    """Return the runs whose models this one starts from, is rewarded by, or is measured by."""
    block = plan.blocks.get(plan.arms[run.arm].block or "")
    of_block = block_judge_run(plan, block) if block is not None else None
    needed = (start_run(plan, run), judge_run(plan, run), of_block)
    return list(dict.fromkeys(each for each in needed if each is not None))


def judged_by(model: str, weight: float = 1.0) -> dict[str, Any]:
    """Return an entry of a recipe's `reward` that scores with a reward model."""
    return {"judge": {"name": "reward_model", "model": model}, "weight": weight}


def as_published(plan: StudyPlan, here: Path, arm: str) -> Recipe:
    """Read the recipe of an arm without the plan's changes, as published, at full size.

    Raises:
        UserError: the recipe does not exist or is invalid.
    """
    return Recipe.load(recipe_from(here, plan.arms[arm].recipe))


def refuse_unknown_arms(plan: StudyPlan, named: list[str]) -> None:
    """Raise a `UserError` for an arm that the plan does not have."""
    for name in named:
        if name not in plan.arms:
            raise UserError(f"--arm: the plan has no arm {name!r}{nearest(name, plan.arms)}.")


def refuse_missing_protocol(plan: StudyPlan) -> None:
    """Raise a `UserError` if the plan's protocol, which the page shows, does not exist or is no text file."""
    if plan.protocol is None:
        return
    if Path(plan.protocol).suffix not in (".md", ".rst", ".txt"):
        raise UserError(f"protocol: {plan.protocol} is no text for the page; name a file .md, .rst or .txt.")
    if not Path(plan.protocol).is_file():
        raise UserError(f"protocol: there is no file {plan.protocol}; write the plan's text there first.")
