"""The confirmatory questions of a plan, answered from its files of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boresight.experiments.study.blocks import START, PlannedQuestion
from boresight.experiments.study.outcomes.file import OutcomeFile, outcome_path, read_outcome_file
from boresight.experiments.study.plan import ArmRun, StudyPlan
from boresight.stats.confirmatory import Decision, Question, decide
from boresight.stats.intervals import SHARE, Bounds
from boresight.stats.pooled_seeds import SeedValues, paired_by_seed, pooled_difference
from boresight.stats.units import rounded_up, unit_named


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with its decision, or with the runs that are still missing."""

    planned: PlannedQuestion
    decision: Decision | None
    missing: tuple[str, ...] = ()


def answer_questions(plan: StudyPlan) -> list[AnsweredQuestion]:
    """Every question of a plan, decided as one family once the results of all of them are there.

    Until then none is decided: which questions are in the family must not depend on what they found.

    Raises:
        UserError: a file of results is torn or lacks a metric.
    """
    asked = plan.questions
    missing = [tuple(path.name for path in _paths(plan, each) if not path.exists()) for each in asked]
    if any(missing):
        return [AnsweredQuestion(each, None, gone) for each, gone in zip(asked, missing, strict=True)]
    decisions = decide([question_of(plan, each) for each in asked])
    return [AnsweredQuestion(each, done) for each, done in zip(asked, decisions, strict=True)]


def question_sentence(answered: AnsweredQuestion) -> str:
    """A question with its verdict in one sentence."""
    asked, decision = answered.planned, answered.decision
    if decision is None:
        count = len(answered.missing)
        verb = "is" if count == 1 else "are"
        gone = (
            f"{count} of its results {verb} missing, {answered.missing[0]} first" if count else "others wait"
        )
        return f"{asked.title}: not decided yet; {gone}."
    difference, unit = decision.question.difference, unit_named(asked.unit)
    of, to = difference.seeds
    size = f"{unit.change(difference.mean)}, {of} and {to} seeds, n = {difference.mean.n:,}"
    tested = f"p = {decision.p:.2g} after Holm's adjustment"
    if decision.p_equivalent is not None:
        tested += f", {decision.p_equivalent:.2g} for equivalence within {unit.difference(asked.margin)}"
    else:
        tested += f" for not worse by {unit.difference(asked.margin)}"
    sentence = f"{asked.title}: {decision.answer}, {size}; {tested}"
    if (enough := decision.enough) is not None:
        seeds = f"{enough.seeds[0]} and {enough.seeds[1]} seeds"
        sentence += f"; about {seeds} and {rounded_up(enough.prompts):,} prompts would decide"
    return f"{sentence}."


def question_of(plan: StudyPlan, asked: PlannedQuestion) -> Question:
    """A question with the difference that the files show."""
    arms = {arm: _results(plan, asked, arm) for arm in dict.fromkeys([asked.of, asked.to, *asked.pool])}
    values = {arm: _values(results, asked.metric) for arm, results in arms.items()}
    of, to = values[asked.of], values[asked.to]
    topics, bounds = _topics(arms[asked.to], asked.metric), _bounds(of, to)
    if asked.paired:
        difference = paired_by_seed(of, to, topics, bounds=bounds)
    else:
        pool = [values[arm] for arm in asked.pool]
        difference = pooled_difference(of, to, pool, topics, bounds=bounds)
    return Question(asked.title, difference, asked.margin, asked.better, asked.asks)


def _paths(plan: StudyPlan, asked: PlannedQuestion) -> list[Path]:
    arms = dict.fromkeys([asked.of, asked.to, *asked.pool])
    return [path for arm in arms for path in _files(plan, asked, arm)]


def _files(plan: StudyPlan, asked: PlannedQuestion, arm: str) -> list[Path]:
    """Files of an arm, one per seed, or of the start model."""
    named = next(name for name in (asked.to, asked.of, *asked.pool) if name != START)
    outcomes, block = Path(str(plan.outcomes)), str(plan.arms[named].block)
    if arm == START:
        return [outcome_path(outcomes, block, None)]
    return [outcome_path(outcomes, block, ArmRun(arm, seed)) for seed in plan.arms[arm].seeds]


def _results(plan: StudyPlan, asked: PlannedQuestion, arm: str) -> list[OutcomeFile]:
    return [read_outcome_file(path) for path in _files(plan, asked, arm)]


def _values(results: Sequence[OutcomeFile], metric: str) -> SeedValues:
    trained = all(result.seed is not None for result in results)
    return SeedValues([result.values(metric) for result in results], trained)


def _topics(results: Sequence[OutcomeFile], metric: str) -> dict[str, object] | None:
    """Topic by prompt; None where the block has none, or where a run has one number."""
    return None if metric in results[0].numbers else results[0].topics


def _bounds(of: SeedValues, to: SeedValues) -> Bounds | None:
    """Those of shares where all values of several prompts lie between 0 and 1."""
    values = [v for arm in (of, to) for by_prompt in arm.by_seed for v in by_prompt.values() if v is not None]
    single = all(len(by_prompt) == 1 for arm in (of, to) for by_prompt in arm.by_seed)
    return SHARE if not single and all(0 <= value <= 1 for value in values) else None
