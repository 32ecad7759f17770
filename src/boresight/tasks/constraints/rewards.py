"""Rewards for meeting the constraint of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.tasks.constraints.constraint import quality, words
from boresight.tasks.constraints.evaluation import LABELS, check_answer

CheckName = Annotated[str, Field(description=f"Check that gives the reward: {', '.join(LABELS)}.")]


def meets_constraint(
    prompts: Sequence[Any],
    completions: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    check: CheckName = "good_answer",
) -> list[float]:
    """1 for an answer that passes `check` (default: its constraint and all measures of quality); else 0.

    Raises:
        UserError: no such check, or a row without a constraint and a topic.
    """
    if check not in LABELS:
        raise UserError(f"reward constraints: there is no check {check!r}{nearest(check, LABELS)}.")
    return [float(_checked(row, text)[check]) for text, row in zip(completions, rows, strict=True)]


def whole_answer(
    prompts: Sequence[Any], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> list[float]:
    """1 for an answer that passes all measures of quality, its constraint met or not; else 0.

    It decreases if a policy meets constraints with fragments, loops or text about the task.

    Raises:
        UserError: a row without a topic.
    """
    return [
        float(all(quality(text, _topic(row)).values())) for text, row in zip(completions, rows, strict=True)
    ]


def _checked(row: Mapping[str, Any], text: str) -> dict[str, bool]:
    _topic(row)
    return check_answer(row, text)


def _topic(row: Mapping[str, Any]) -> str:
    topic = row.get("topic")
    if not words(str(topic or "")):
        raise UserError(f"topic is {topic!r}; it names what the answer is about.")
    return str(topic)
