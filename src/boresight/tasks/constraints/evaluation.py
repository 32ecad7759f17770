"""Evaluate answers to prompts with a checkable constraint: whether they meet it, and their quality.

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
"""Probe answers; together, their checks use every parameter of a constraint."""


def checkable(meta: Mapping[str, Any]) -> bool:
    """Return whether the `meta` of a prompt contains what the checks need: a valid constraint and a topic.

    Rows of another data set may have columns of the same names; they are ordinary prompts.
    """
    try:
        for text in TRIED:
            check_answer(meta, text)
    except (UserError, AttributeError, LookupError, TypeError, ValueError):
        return False
    return True


def check_answer(meta: Mapping[str, Any], text: str) -> dict[str, bool]:
    """Return the result of every check in `LABELS` by name.

    `good_answer` is the main check: a policy that learns to meet constraints with fragments increases
    `constraint_met` and decreases `good_answer`.
    """
    met = Constraint.from_meta(meta).met(text)
    qualities = quality(text, meta["topic"])
    return {"constraint_met": met, **qualities, "good_answer": met and all(qualities.values())}


def check_answers(metas: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> list[dict[str, bool | int]]:
    """Return, for each answer, the results of all checks and the number of words."""
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
    """Compare the share of answers that pass each check before and after training, paired by prompt.

    Args:
        ids: id of each prompt.
        metas: `meta` of each prompt.
        before: answers before training.
        after: answers after training.
        same: ids of duplicate prompts, each with the id of the first prompt that is equal.
    """
    old, new = check_answers(metas, before), check_answers(metas, after)

    def side(checks: list[dict[str, bool | int]], name: str) -> dict[str, float]:
        return {id: float(check[name]) for id, check in zip(ids, checks, strict=True)}

    return [
        paired_metric(name, label, "share", "higher", side(old, name), side(new, name), same)
        for name, label in LABELS.items()
    ]
