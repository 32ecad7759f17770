"""Reward for meeting the constraint that a row carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.tasks.constraints.constraint import words
from boresight.tasks.constraints.evaluation import LABELS, check_answer

CheckName = Annotated[str, Field(description=f"What is paid: {', '.join(LABELS)}.")]


def meets_constraint(
    prompts: Sequence[Any],
    completions: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    check: CheckName = "good_answer",
) -> list[float]:
    """1 for an answer that meets its row's `constraint` and is a whole answer about its `topic`; else 0.

    Raises:
        UserError: no such check, or a row without a constraint and a topic.
    """
    if check not in LABELS:
        raise UserError(f"reward constraints: there is no check {check!r}{nearest(check, LABELS)}.")
    return [float(_checked(row, text)[check]) for text, row in zip(completions, rows, strict=True)]


def _checked(row: Mapping[str, Any], text: str) -> dict[str, bool]:
    if not words(str(row.get("topic", ""))):
        topic = row.get("topic")
        raise UserError(f"reward constraints: topic is {topic!r}; it names what the answer is about.")
    return check_answer(row, text)
