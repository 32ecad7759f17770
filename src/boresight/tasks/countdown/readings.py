"""Answer readers of the Countdown rewards.

A reader extracts the answer from a completion, checks its form, and names the extraction rules that decide
its grade.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boresight.tasks.countdown.answer import CLOSE, OPEN, SYMBOLS, Unreadable, last_answer, read_answer
from boresight.tasks.countdown.compat import last_answer_tag
from boresight.tasks.countdown.problems import problem_of
from boresight.tasks.countdown.scorer import score
from boresight.tasks.reading import AnswerReading

LAST = "the last of several <answer> counts"
CLOSED = "a last <answer> that is not closed refuses the text"
AS_PLAIN = "× ÷ − read as * / -"
CLAIM = "'= target' after the answer is left out"
LENIENT = "the public grader and the exact verifier differ"


def strict_reading(completion: str, row: Mapping[str, Any]) -> AnswerReading:
    """Read the last answer of a completion as the exact verifier does.

    The answer is its expression without blanks. A rule decides the grade if the grade would differ without
    it.
    """
    asked = problem_of(row, "reading")

    def solves(text: str) -> bool:
        return score(text, asked.numbers, asked.target).correct

    correct = solves(completion)
    try:
        answer = read_answer(completion)
    except Unreadable:
        answer = None
    otherwise = {
        LAST: solves(_up_to_close(completion, last=False)),
        CLOSED: solves(_up_to_close(completion, last=True)),
        AS_PLAIN: correct and not any(symbol in last_answer(completion) for symbol in SYMBOLS),
        CLAIM: correct and answer is not None and answer.claim is None,
    }
    decided = tuple(rule for rule, graded in otherwise.items() if graded != correct)
    text = None if answer is None else answer.expression.replace(" ", "")
    return AnswerReading(text, answer is not None, decided)


def public_reading(completion: str, row: Mapping[str, Any]) -> AnswerReading:
    """Read the last answer of a completion as the public grader does.

    The answer is the content of the last tags without blanks. The form is correct if the tags are present.
    """
    asked = problem_of(row, "reading")
    answer = last_answer_tag(completion)
    strict, public = (
        score(completion, asked.numbers, asked.target, mode).correct for mode in ("strict", "compat")
    )
    text = None if answer is None else "".join(answer.split())
    return AnswerReading(text, answer is not None, (LENIENT,) if strict != public else ())


def _up_to_close(completion: str, last: bool) -> str:
    """Return the completion up to the end of its first closed answer, or of its last one."""
    if not last:
        start = completion.find(OPEN)
        end = completion.find(CLOSE, start) if start >= 0 else -1
    else:
        end = completion.rfind(CLOSE)
    return completion[: end + len(CLOSE)] if end >= 0 else completion
