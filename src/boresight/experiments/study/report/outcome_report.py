"""Compute the contents of the page of a plan with blocks, from the plan and its files of results alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boresight.core.wording import cut_at_tokens, format_duration, plural
from boresight.experiments.study import plan as plans
from boresight.experiments.study.blocks import REWARD, START
from boresight.experiments.study.outcomes.block_results import ArmResult, BlockResults, block_results
from boresight.experiments.study.outcomes.chosen_rate import LEARNING_RATE, STEPS
from boresight.experiments.study.outcomes.collection import Outcomes
from boresight.experiments.study.outcomes.file import OutcomeFile
from boresight.experiments.study.outcomes.label_use import CALLS
from boresight.experiments.study.outcomes.questions import (
    AnsweredQuestion,
    answer_questions,
    questions_headline,
)
from boresight.experiments.study.plan import ArmRun, StudyPlan
from boresight.experiments.study.report.arm_settings import settings_in_words
from boresight.experiments.study.report.block_curves import block_curves, judged_curves
from boresight.experiments.study.report.figures import DrawnFigure
from boresight.experiments.study.report.forest import Forest, arms_forest, on_one_scale, questions_forest
from boresight.experiments.study.report.result_tables import (
    SECONDS,
    TOKENS,
    ResultTable,
    block_table,
    questions_table,
    title_of,
)
from boresight.reports.tables.intervals import NOTHING
from boresight.stats.units import format_number


@dataclass(frozen=True)
class ShownPrompt:
    """A prompt with the answers of a block's arms.

    Each answer is `(title of the arm, text, reward in words)`. The last one also states whether the token
    limit cut the answer.
    """

    prompt: str
    answers: list[tuple[str, str | None, str]]


@dataclass(frozen=True)
class BlockPart:
    """The part of the page about one block."""

    results: BlockResults
    about: str
    table: ResultTable
    forest: Forest | None
    curves: DrawnFigure | None
    judged: list[DrawnFigure]
    """Figures of arms that are rewarded by a reward model."""
    samples: list[ShownPrompt]


@dataclass(frozen=True)
class OutcomeReport:
    """All contents of the page."""

    headline: str
    notes: list[str]
    questions: list[AnsweredQuestion]
    table: ResultTable
    forest: Forest | None
    blocks: list[BlockPart]
    costs: list[tuple[str, ...]]
    settings: list[tuple[str, str, str]]
    machines: list[tuple[str, str]]

    @property
    def tables(self) -> list[ResultTable]:
        """All tables: that of the questions, then one per block with its arms."""
        return [self.table, *(part.table for part in self.blocks)]


def outcome_report(plan: StudyPlan, here: Path, changes: Sequence[str] = ()) -> OutcomeReport:
    """Compute the contents of the page."""
    outcomes = Outcomes(plan)
    answered, found = answer_questions(outcomes), [block_results(outcomes, name) for name in plan.blocks]
    tests = [str(each.block.prompts or each.block.pairs) for each in found]
    forests = on_one_scale([arms_forest(plan, each) for each in found], tests)
    return OutcomeReport(
        headline=_headline(answered, found),
        notes=_notes(outcomes, found, changes),
        questions=answered,
        table=questions_table(answered, plan),
        forest=questions_forest(plan, answered),
        blocks=[_part(plan, each, forest) for each, forest in zip(found, forests, strict=True)],
        costs=_costs(found),
        settings=[
            (each.block.title, plan.arms[arm.arm].title, _settings(plan, here, arm))
            for each in found
            for arm in each.arms
        ],
        machines=_machines(found),
    )


def _headline(answered: Sequence[AnsweredQuestion], found: Sequence[BlockResults]) -> str:
    runs = f"{_done(found)} of {_planned(found)} runs have results"
    if not answered:
        return f"{runs}."
    headline = questions_headline(answered)
    return f"{headline[:-1]}; {runs}." if any(each.missing for each in answered) else headline


def _done(found: Sequence[BlockResults]) -> int:
    return sum(len(arm.files) for each in found for arm in each.arms)


def _planned(found: Sequence[BlockResults]) -> int:
    return sum(arm.planned for each in found for arm in each.arms)


def _notes(outcomes: Outcomes, found: Sequence[BlockResults], changes: Sequence[str]) -> list[str]:
    """Return the notes above the numbers: missing runs, unplanned files of results, changes of the plan."""
    notes = [
        f"Missing in {each.block.title}: {'; '.join(gone)}."
        for each in found
        if (gone := [_missing(outcomes.plan, arm) for arm in each.lines if arm.missing])
    ]
    if unplanned := outcomes.unplanned():
        names = [f"{path.parent.name}/{path.name}" for path in unplanned]
        notes.append(f"Files that are not in the plan and not on this page: {', '.join(names)}.")
    if changes:
        notes.append(f"The plan was changed on the command line: {', '.join(changes)}.")
    return notes


def _missing(plan: StudyPlan, arm: ArmResult) -> str:
    """Format the missing runs of an arm, as `DPO, seeds 1 (stopped by the guard at step 4: …), 2`.

    Every missing run is named or, if none was stopped and all are missing, `all seeds`.
    """
    if arm.arm == START:
        return "the start model"
    title = plan.arms[arm.arm].title
    if len(arm.missing) == arm.planned and not arm.stopped:
        return f"{title}, {'all seeds' if arm.planned > 1 else 'its seed'}"
    seeds = [f"{seed} ({arm.stopped[seed]})" if seed in arm.stopped else seed for seed in arm.missing]
    return f"{title}, seed{'' if len(seeds) == 1 else 's'} {', '.join(seeds)}"


def _part(plan: StudyPlan, found: BlockResults, forest: Forest | None) -> BlockPart:
    return BlockPart(
        results=found,
        about=_about(plan, found),
        table=block_table(found, plan),
        forest=forest,
        curves=block_curves(plan, found),
        judged=judged_curves(plan, found),
        samples=_samples(plan, found),
    )


def _about(plan: StudyPlan, found: BlockResults) -> str:
    """Describe the start model of a block, its test prompts or pairs, and how prompts are answered."""
    block, start = found.block, plan.arms.get(found.block.start)
    if block.pairs is not None:
        asked = f"{found.prompts:,} held-out pairs" if found.prompts else "held-out pairs"
        asked += f" of {found.topics:,} prompts" if found.topics else ""
        name = start.title if start else block.start
        return f"Start model: {name}. Reward: the share of {asked} ranked right ({block.pairs})."
    how = "greedy answers" if block.temperature == 0 else f"sampled at temperature {block.temperature:g}"
    each = "One answer" if block.samples == 1 else f"{block.samples} answers"
    asked = f"each of {found.prompts:,} test prompts" if found.prompts else "each test prompt"
    topics = f" about {found.topics:,} topics" if found.topics else ""
    return (
        f"Start model: {start.title if start else block.start}. {each} to {asked}"
        f"{topics} ({block.prompts}), {how}, at most {block.max_new_tokens} tokens."
    )


def _samples(plan: StudyPlan, found: BlockResults) -> list[ShownPrompt]:
    """Return the stored answers of each arm's first measured seed, prompt by prompt."""
    first = [(title_of(plan, found, arm), arm.files[0]) for arm in found.lines if arm.files]
    prompts = {shown.id: shown.prompt for _, file in first for shown in file.answers}
    return [
        ShownPrompt(
            prompt,
            [
                (
                    title,
                    shown.answer,
                    ", ".join(filter(None, [_reward(file, id_), cut_at_tokens(shown.cut_at)])),
                )
                for title, file in first
                for shown in file.answers
                if shown.id == id_
            ],
        )
        for id_, prompt in prompts.items()
    ]


def _reward(file: OutcomeFile, prompt: str) -> str:
    """Format the reward of the first sample for a prompt."""
    found = next((result for result in file.prompts if result.id == prompt), None)
    value = found.rewards.get(REWARD, [None])[0] if found else None
    return "no reward" if value is None or math.isnan(value) else f"reward {format_number(value)}"


def _costs(found: Sequence[BlockResults]) -> list[tuple[str, ...]]:
    """Return a row per block and one for all blocks: title, runs, time, verifier calls, trained tokens."""
    rows = [(each.block.title, each.arms) for each in found]
    if len(rows) > 1:
        rows.append(("all", [arm for each in found for arm in each.arms]))
    return [(title, *_cost(arms)) for title, arms in rows]


def _cost(arms: Sequence[ArmResult]) -> tuple[str, str, str, str]:
    runs = f"{sum(len(arm.files) for arm in arms)} of {sum(arm.planned for arm in arms)}"
    if not any(arm.files for arm in arms):
        return runs, NOTHING, NOTHING, NOTHING
    return (
        runs,
        format_duration(math.fsum(arm.total(SECONDS) for arm in arms)),
        f"{math.fsum(arm.total(CALLS) for arm in arms):,.0f}",
        f"{math.fsum(arm.total(TOKENS) for arm in arms):,.0f}",
    )


def _settings(plan: StudyPlan, here: Path, arm: ArmResult) -> str:
    recipe = plans.arm_recipe(plan, here, ArmRun(arm.arm, plan.arms[arm.arm].seeds[0]))
    return settings_in_words(recipe, arm.number(LEARNING_RATE), arm.number(STEPS))


def _machines(found: Sequence[BlockResults]) -> list[tuple[str, str]]:
    """Return the machines of the runs, each with its number of runs."""
    counts = Counter(_machine(file) for each in found for arm in each.arms for file in arm.files)
    return [(machine, plural(n, "run")) for machine, n in sorted(counts.items())]


def _machine(file: OutcomeFile) -> str:
    facts = file.environment
    device = facts.get("gpu") or facts.get("processor") or "unknown processor"
    packages = facts.get("packages") or {}
    versions = [f"{name} {packages[name]}" for name in ("torch", "transformers") if packages.get(name)]
    return ", ".join([str(device), *versions, f"commit {facts.get('commit') or 'unknown'}"])
