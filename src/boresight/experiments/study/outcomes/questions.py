"""Answer the confirmatory questions of a plan from its files of results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from boresight.core.wording import is_or_are, plural
from boresight.experiments.study.blocks import START, PlannedQuestion
from boresight.experiments.study.outcomes.collection import Outcomes
from boresight.experiments.study.outcomes.values import seed_values, share_bounds, topics_of
from boresight.stats.confirmatory import Decision, EnoughData, Question, decide
from boresight.stats.pooled_seeds import paired_by_seed, pooled_difference
from boresight.stats.units import rounded_up, unit_named


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with its decision, or with the files that are still missing, as `BLOCK/NAME.jsonl.gz`."""

    planned: PlannedQuestion
    decision: Decision | None
    missing: tuple[str, ...] = ()


def answer_questions(results: Outcomes) -> list[AnsweredQuestion]:
    """Decide all questions of a plan as one family, once the results for all of them exist.

    Until then no question is decided, since the family of questions must not depend on their results.

    Raises:
        UserError: a file of results is torn or lacks a metric.
    """
    asked = results.plan.questions
    missing = [_missing(results, each) for each in asked]
    if any(missing):
        return [AnsweredQuestion(each, None, gone) for each, gone in zip(asked, missing, strict=True)]
    decisions = decide([question_of(results, each) for each in asked])
    return [AnsweredQuestion(each, done) for each, done in zip(asked, decisions, strict=True)]


def question_sentence(answered: AnsweredQuestion) -> str:
    """Format a question with its verdict as one sentence."""
    asked, decision = answered.planned, answered.decision
    if decision is None:
        count = len(answered.missing)
        gone = (
            f"{count} of its results {is_or_are(count)} missing, {answered.missing[0]} first"
            if count
            else "others wait"
        )
        return f"{asked.title}: not decided yet; {gone}."
    difference, unit = decision.question.difference, unit_named(asked.unit)
    counts = seeds_in_words(asked, difference.seeds)
    size = f"{unit.change(difference.mean)}, {counts} seeds"
    if difference.mean.n > 1:  # a metric of prompts; one of whole runs has a value per seed
        size += f", n = {difference.mean.n:,}"
    tested = f"p = {decision.p:.2g} after Holm's adjustment"
    if decision.p_equivalent is not None:
        tested += f", {decision.p_equivalent:.2g} for equivalence within {unit.difference(asked.margin)}"
    else:
        tested += f" for not worse by {unit.difference(asked.margin)}"
    sentence = f"{asked.title}: {decision.verdict}, {size}; {tested}"
    if (enough := decision.enough) is not None:
        sentence += f"; about {' and '.join(enough_in_words(asked, enough))} would decide"
    return f"{sentence}."


def seeds_in_words(asked: PlannedQuestion, counts: tuple[int, int]) -> str:
    """Format the numbers of seeds of both arms, as `3 and 4`. A start model has no seeds and is omitted."""
    named = zip((asked.of, asked.to), counts, strict=True)
    return " and ".join(f"{count:,}" for arm, count in named if arm != START)


def enough_in_words(asked: PlannedQuestion, enough: EnoughData) -> list[str]:
    """Format the amount of data that would decide a question: seeds, and prompts unless there are none."""
    seeds = f"{seeds_in_words(asked, enough.seeds)} seeds"
    return [seeds, f"{rounded_up(enough.prompts):,} prompts"] if enough.prompts else [seeds]


def questions_headline(answered: Sequence[AnsweredQuestion]) -> str:
    """Summarize the verdicts on all questions in one sentence, or state why there are none yet."""
    if waiting := {name for each in answered for name in each.missing}:
        files = f"{plural(len(waiting), 'file')} of results {is_or_are(len(waiting))} missing"
        return f"No question is decided yet, since {files}."
    verdicts = [(each.planned.title, each.decision) for each in answered if each.decision]
    shown = [f"{title} ({made.verdict})" for title, made in verdicts if made.answer in ("better", "worse")]
    others = Counter(made.answer for _, made in verdicts if made.answer not in ("better", "worse"))
    rest = ", ".join(f"{count} {is_or_are(count)} {answer}" for answer, count in others.items())
    asked = plural(len(verdicts), "question")
    if not shown:
        return f"None of {asked} shows a difference: {rest}."
    lead = f"{len(shown)} of {asked} {'shows' if len(shown) == 1 else 'show'} a difference"
    return f"{lead}: {'; '.join(shown)}" + (f". Of the others, {rest}." if rest else ".")


def question_of(results: Outcomes, asked: PlannedQuestion) -> Question:
    """Return the question in the form that `decide` takes, with its difference computed from the files."""
    block = _block(results, asked)
    arms = {arm: results.results(block, arm) for arm in _arms(asked)}
    values = {arm: seed_values(found, asked.metric) for arm, found in arms.items()}
    of, to = values[asked.of], values[asked.to]
    topics, bounds = topics_of(arms[asked.to], asked.metric), share_bounds(of, to)
    if asked.paired:
        difference = paired_by_seed(of, to, topics, bounds=bounds)
    else:
        pool = [values[arm] for arm in asked.pool]
        difference = pooled_difference(of, to, pool, topics, bounds=bounds)
    return Question(asked.title, difference, asked.margin, asked.better, asked.asks)


def _arms(asked: PlannedQuestion) -> list[str]:
    return list(dict.fromkeys([asked.of, asked.to, *asked.pool]))


def _block(results: Outcomes, asked: PlannedQuestion) -> str:
    """Return the name of the block of a question's arms; at least one of these is trained."""
    trained = next(arm for arm in (asked.to, asked.of, *asked.pool) if arm != START)
    return str(results.plan.arms[trained].block)


def _missing(results: Outcomes, asked: PlannedQuestion) -> tuple[str, ...]:
    block = _block(results, asked)
    return tuple(f"{block}/{path.name}" for arm in _arms(asked) for path in results.missing(block, arm))
