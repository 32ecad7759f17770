"""Reward for completions whose final answer equals the gold answer of their row; prompts are not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from boresight.core.errors import UserError
from boresight.tasks.math.compare import can_be_gold, equal, require_math_verify
from boresight.tasks.math.final import BOXES, boxed, final_answer, last_number
from boresight.tasks.math.written import cleaned
from boresight.tasks.text.gold import GoldColumn, gold_texts

Unmarked = Annotated[
    Literal["wrong", "last_number"],
    Field(description="A completion without a marked answer: wrong, or its last number is the answer."),
]


def solves_math(
    prompts: Sequence[Any],
    completions: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    column: GoldColumn = "answer",
    unmarked: Unmarked = "wrong",
) -> list[float | None]:
    """1 for a final answer equal to the gold answer; else 0. None where the gold answer cannot be read.

    Raises:
        UserError: math-verify is not installed, or a row has no gold answer or several.
    """
    require_math_verify()

    def earned(completion: str, row: Mapping[str, Any]) -> float | None:
        gold = cleaned(_gold(row, column))
        if gold is None or not can_be_gold(gold):
            return None
        answer = final_answer(completion)
        if answer is None and unmarked == "last_number":
            answer = last_number(completion)
        verdict = False if answer is None else equal(gold, cleaned(answer))
        return None if verdict is None else float(verdict)

    return [earned(completion, row) for completion, row in zip(completions, rows, strict=True)]


def _gold(row: Mapping[str, Any], column: str) -> str:
    """The gold answer as it is written; of a solution, what stands in its last box."""
    texts = gold_texts(row, column, "math")
    if len(texts) > 1:
        raise UserError(
            f"reward math: the column {column!r} has {len(texts)} gold answers; "
            "write them as one, such as the set \\{1, 2\\}."
        )
    return (boxed(texts[0]) or "") if any(box in texts[0] for box in BOXES) else texts[0]
