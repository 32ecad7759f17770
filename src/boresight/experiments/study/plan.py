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
"""Names of arms and blocks, which have folders of the same name."""

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
    """The table that lists it."""
    role: Role = "other"
    """`published`: with the settings of the published study; `tuned`: with the settings that evidence
    supports."""
    recipe: str
    """Its recipe: a path relative to the plan's folder, or a name."""
    set: dict[str, Any] = {}
    """Changes to that recipe, by dotted key; `{seed}` in a text is the seed, as in `pairs-{seed}.jsonl`."""
    seeds: list[int] = Field(default=[0], min_length=1)
    """Seeds; one run each, on the same rows."""
    starts_from: str | None = None
    """Another arm whose trained model this one starts from, seed by seed; null: the recipe's model."""
    rewarded_by: str | None = None
    """Another arm, a reward model, whose scores are the reward of this one, seed by seed. The rewards of the
    recipe are then measured and pay nothing; null: they are the reward."""
    keep_weights: bool = True
    """Keep the trained weights after the arm has answered."""
    shrunk: str = ""
    """How the arm is smaller than in the published study, as text."""
    minutes: float = Field(default=1.0, gt=0)
    """Rough duration of one seed."""
    block: str | None = None
    """The block whose start model it trains and whose test prompts it answers; null: none."""
    verifier_calls: int = Field(default=0, ge=0)
    """Verifier calls spent on its data before the run, for example to label its pairs."""


class Group(Section):
    """A table of arms with the same metrics."""

    title: str
    metrics: list[str]
    """Columns: names of `study.metrics`."""
    about: str = ""
    """A sentence under the table."""


class ArmComparison(Section):
    """Arm `to` minus arm `of`, paired by seed and prompt; or several such pairs of arms taken together."""

    title: str
    of: list[str] = Field(min_length=1)
    to: list[str] = Field(min_length=1)
    """As many arms as `of`: the first is compared with the first, and so on; several differences are
    averaged by prompt."""
    metrics: list[str] = ["accuracy", "win_rate"]
    headline: bool = True
    """Include the comparison in the sentence at the top."""

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
    """A horizontal line to compare a curve with."""

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
    """Groups whose arms answer."""
    prompts: str
    """A file of prompts with checkable constraints."""
    start: str
    """The start model, for the first line of the table and the page."""
    check: str = "good_answer"
    """The check that is the reward of an answer, 1 or 0."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Maximum length of an answer, in tokens; decoding is greedy."""
    shown: list[str] = []
    """Arms whose answers the page shows next to those of the start model."""


class StudyPlan(BaseRecipe):
    """A study."""

    title: str
    about: str = ""
    """A paragraph at the top of the report."""
    shared: dict[str, Any] = {}
    """Ignored; a place for YAML anchors."""
    groups: dict[str, Group]
    arms: dict[str, Arm]
    comparisons: list[ArmComparison] = []
    figures: dict[str, PlannedFigure] = {}
    answers: StudyAnswers | None = None
    blocks: dict[str, Block] = {}
    questions: list[PlannedQuestion] = []
    """The family of confirmatory questions, answered together."""
    outcomes: str | None = None
    """Folder of the results by prompt, one file for each arm of a block and seed; needed with blocks. The
    page is written beside it: `docs/mine/index.html` for `docs/mine/outcomes`."""
    protocol: str | None = None
    """Path of the plan's text, written before any result; the page links to it."""
    deviations: list[Deviation] = []
    """Deviations from the text, all shown on the page."""
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
        """Every name that refers to something: its field, the name, and the known names."""
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
    """All arms that a question names, the start model left out."""
    return {question.of, question.to, *question.pool} - {START}


@dataclass(frozen=True)
class ArmRun:
    """One arm with one seed: one run."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.arm}-seed{self.seed}"


def arm_runs(plan: StudyPlan) -> list[ArmRun]:
    """All runs in order: every arm with its first seed, then those with a second, and so on.

    An interrupted study then has every arm once before it has any twice.
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
    """The recipe of one run. `here` is the plan's folder.

    Args:
        start: a model that replaces that of the recipe.
        judge: folder of the reward model of an arm with `rewarded_by`; None puts the name of the rewarding
            arm in its place.

    Raises:
        UserError: there is no such recipe, or a change is not valid in it.
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
    """`value` with `{seed}` in its texts replaced, in those of lists and dictionaries too."""
    if isinstance(value, str):
        return value.replace("{seed}", str(seed))
    if isinstance(value, list):
        return [_with_seed(each, seed) for each in value]
    if isinstance(value, dict):
        return {_with_seed(key, seed): _with_seed(each, seed) for key, each in value.items()}
    return value


def _refuse_test_data(recipe: Recipe, arm: str, block: Block) -> None:
    """Raise a `UserError` where the run of an arm would learn from, or be steered by, what measures it."""
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
    """What the names of the same rows have in common: the file or folder, and the split."""
    return data_path(source).resolve(), split_name(source)[1]


def start_run(plan: StudyPlan, run: ArmRun) -> ArmRun | None:
    """The run whose model this one starts from: of the same seed, or the first one of its block's start."""
    arm = plan.arms[run.arm]
    if arm.starts_from is not None:
        return ArmRun(arm.starts_from, run.seed)
    start = plan.blocks[arm.block].start if arm.block is not None else None
    return ArmRun(start, plan.arms[start].seeds[0]) if start in plan.arms and start is not None else None


def judge_run(plan: StudyPlan, run: ArmRun) -> ArmRun | None:
    """The run whose model rewards this one; None where the recipe's rewards do."""
    arm = plan.arms[run.arm].rewarded_by
    return None if arm is None else ArmRun(arm, run.seed)


def block_judge_run(plan: StudyPlan, block: Block) -> ArmRun | None:
    """The run whose model scores all answers of a block; None without one."""
    return None if block.judge is None else ArmRun(block.judge, plan.arms[block.judge].seeds[0])


def needed_runs(plan: StudyPlan, run: ArmRun) -> list[ArmRun]:
    """The runs whose models this one starts from, is rewarded by, and is measured by."""
    block = plan.blocks.get(plan.arms[run.arm].block or "")
    of_block = block_judge_run(plan, block) if block is not None else None
    needed = (start_run(plan, run), judge_run(plan, run), of_block)
    return list(dict.fromkeys(each for each in needed if each is not None))


def judged_by(model: str, weight: float = 1.0) -> dict[str, Any]:
    """A reward of a recipe: the scores of a reward model."""
    return {"judge": {"name": "reward_model", "model": model}, "weight": weight}


def as_published(plan: StudyPlan, here: Path, arm: str) -> Recipe:
    """The arm's recipe as published, at full size. Raises `UserError`."""
    return Recipe.load(recipe_from(here, plan.arms[arm].recipe))


def refuse_unknown_arms(plan: StudyPlan, named: list[str]) -> None:
    """Raise a `UserError` for an arm that the plan does not have."""
    for name in named:
        if name not in plan.arms:
            raise UserError(f"--arm: the plan has no arm {name!r}{nearest(name, plan.arms)}.")


def refuse_missing_protocol(plan: StudyPlan) -> None:
    """Raise a `UserError` if the plan's text, which the page shows, is not there or is no text."""
    if plan.protocol is None:
        return
    if Path(plan.protocol).suffix not in (".md", ".rst", ".txt"):
        raise UserError(f"protocol: {plan.protocol} is no text for the page; name a file .md, .rst or .txt.")
    if not Path(plan.protocol).is_file():
        raise UserError(f"protocol: there is no file {plan.protocol}; write the plan's text there first.")
