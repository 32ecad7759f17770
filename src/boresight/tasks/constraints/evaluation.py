"""Evaluation of answers to prompts with a checkable constraint: whether they meet it, and measures of
quality.

`meta` of such a prompt is `{"topic": "tea", "constraint": {"kind": "max_words", "params": {"n": 15}}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from boresight.core.errors import UserError
from boresight.stats.paired import DuplicatePrompts, Measured, paired_metric
from boresight.tasks.constraints.constraint import Constraint, quality, words

LABELS = {
    "constraint_met": "answers that meet the constraint",
    "on_topic": "answers that name the topic",
    "complete": "answers that end as a sentence",
    "enough_words": "answers that are no fragment",
    "no_loop": "answers without a loop",
    "no_task_talk": "answers not about the task",
    "good_answer": "answers that pass every check",
}
TRIED = ("It is 1.", '{"it": 1}')
"""Answers whose checks use every parameter of a constraint."""


def checkable(meta: Mapping[str, Any]) -> bool:
    """Whether a prompt's `meta` contains what the checks need: a constraint of this package, and a topic.

    A column of another data set may have either name; its rows are ordinary prompts.
    """
    try:
        for text in TRIED:
            check_answer(meta, text)
    except (UserError, AttributeError, LookupError, TypeError, ValueError):
        return False
    return True


def check_answer(meta: Mapping[str, Any], text: str) -> dict[str, bool]:
    """Every check of `LABELS` by name.

    `good_answer` is the main check: a policy that learns to meet constraints with fragments raises
    `constraint_met` and lowers `good_answer`.
    """
    met = Constraint.from_meta(meta).met(text)
    qualities = quality(text, meta["topic"])
    return {"constraint_met": met, **qualities, "good_answer": met and all(qualities.values())}


def check_answers(metas: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> list[dict[str, bool | int]]:
    """The checks of every answer, and its number of words."""
    return [
        {**check_answer(meta, text), "words": len(words(text))}
        for meta, text in zip(metas, answers, strict=True)
    ]


def compare_constraints(
    ids: Sequence[str],
    metas: Sequence[Mapping[str, Any]],
    before: Sequence[str],
    after: Sequence[str],
    same: DuplicatePrompts | None = None,
) -> list[Measured]:
    """Share of every check before and after, and the difference paired by prompt; `same` are the ids of equal
    prompts."""
    old, new = check_answers(metas, before), check_answers(metas, after)

    def side(checks: list[dict[str, bool | int]], name: str) -> dict[str, float]:
        return {id: float(check[name]) for id, check in zip(ids, checks, strict=True)}

    return [
        paired_metric(name, label, "share", "higher", side(old, name), side(new, name), same)
        for name, label in LABELS.items()
    ]
