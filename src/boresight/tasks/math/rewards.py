"""Reward for completions whose final answer equals the gold answer of their row; prompts are not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from boresight.core.errors import UserError
from boresight.tasks.math.compare import can_be_gold, equal, require_math_verify
from boresight.tasks.math.final import BOXES, boxed, final_answer, last_number
from boresight.tasks.math.quantity import quantity
from boresight.tasks.math.written import cleaned
from boresight.tasks.reading import AnswerReading, reads
from boresight.tasks.text.gold import MARK, GoldColumn, gold_texts
from boresight.tasks.text.parts import without_thought

Unmarked = Annotated[
    Literal["wrong", "last_number"],
    Field(description="A completion without a marked answer: wrong, or its last number is the answer."),
]


MARKS = (*BOXES, MARK, "<answer>")
LAST, MARKED = "the last of several marked answers counts", "only a marked answer counts"


def math_reading(
    completion: str,
    row: Mapping[str, Any],
    *,
    column: GoldColumn = "answer",
    unmarked: Unmarked = "wrong",
) -> AnswerReading:
    """Read the answer of a completion as `solves_math` does.

    The answer is the value of a number without its unit, or the spelling of any other answer. The reading
    also names the extraction rules that decide the grade.

    Raises:
        UserError: as `solves_math` does.
    """
    marked = final_answer(completion)
    answer = last_number(completion) if marked is None and unmarked == "last_number" else marked
    otherwise = {LAST: (_first_marked(completion), unmarked), MARKED: (completion, _OTHER[unmarked])}

    def grade(text: str, rule: Unmarked) -> float | None:
        return solves_math([], [text], [row], column=column, unmarked=rule)[0]

    mine = grade(completion, unmarked)
    decided = tuple(rule for rule, other in otherwise.items() if grade(*other) != mine)
    return AnswerReading(None if answer is None else _vote(answer), marked is not None, decided)


_OTHER: dict[Unmarked, Unmarked] = {"wrong": "last_number", "last_number": "wrong"}


def _first_marked(completion: str) -> str:
    """Return the completion up to the second occurrence of the marker by which its answer is read."""
    text = without_thought(completion)
    mark = next((mark for mark in MARKS if mark in text), None)
    if mark is None:
        return completion
    second = text.find(mark, text.find(mark) + len(mark))
    return completion if second < 0 else text[:second]


def _vote(answer: str) -> str:
    """Return the key of an answer, which is equal for equal answers.

    It is the value of a number, or the spelling of any other answer.
    """
    text = cleaned(answer)
    number = None if text is None else quantity(text)
    if number is None:
        return answer.strip() if text is None else text.replace(" ", "")
    return f"{number.value}{' %' if number.percent else ''}"


@reads(math_reading)
def solves_math(
    prompts: Sequence[Any],
    completions: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    column: GoldColumn = "answer",
    unmarked: Unmarked = "wrong",
) -> list[float | None]:
    """1 for a final answer equal to the gold answer; else 0. None if the gold answer cannot be parsed.

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
    """Return the gold answer of a row; if it contains a box, the content of its last box."""
    texts = gold_texts(row, column, "math")
    if len(texts) > 1:
        raise UserError(
            f"reward math: the column {column!r} has {len(texts)} gold answers; "
            "write them as one, such as the set \\{1, 2\\}."
        )
    return (boxed(texts[0]) or "") if any(box in texts[0] for box in BOXES) else texts[0]
