"""The Countdown verifier, which grades completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.tasks.countdown import compat
from boresight.tasks.countdown.answer import CountdownAnswer, Unreadable, read_answer

Mode = Literal["strict", "compat"]


@dataclass(frozen=True, slots=True)
class CountdownScore:
    """Grade of one completion.

    `correct` is whether the answer solves the problem, `formatted` whether it has the required form, and
    `reason` explains the grade.
    """

    correct: bool
    formatted: bool
    reward: float
    reason: str


def score(completion: str, numbers: Sequence[int], target: int, mode: Mode = "strict") -> CountdownScore:
    """Grade a completion: the text that the model generated, without its prompt. Does not raise on any text.

    `strict` is the verifier. The last `<answer>` must contain an expression of whole numbers, `+ - * /` and
    parentheses, use every given number exactly once and equal the target exactly. `×`, `÷`, `−` and a
    trailing `= target` are accepted and mentioned in the reason. Powers, `//`, decimals, a sign before a
    number, leading zeros, digits other than 0-9 and an answer inside a prompt are not accepted. `formatted`
    is whether there is an answer of that form, whatever its numbers and value; the reward is 1 if it is
    correct, else 0.

    `compat` is the public 0 / 0.1 / 1 grader with its errors, for comparison with published numbers
    (`boresight.tasks.countdown.compat`). In this mode, `formatted` is whether the tags are present.

    Raises:
        UserError: the mode is unknown.
    """
    if mode == "strict":
        return _strict(completion, numbers, target)
    if mode == "compat":
        reward, reason = compat.grade(completion, numbers, target)
        return CountdownScore(reward == 1.0, reward > 0.0, reward, reason)
    raise UserError(f"mode: there is no scoring mode {mode!r}{nearest(str(mode), get_args(Mode))}.")


def _strict(completion: str, numbers: Sequence[int], target: int) -> CountdownScore:
    try:
        answer = read_answer(completion)
    except Unreadable as unreadable:
        return CountdownScore(False, False, 0.0, str(unreadable))
    fault = _fault(answer, numbers, target)
    correct = fault is None
    return CountdownScore(correct, True, float(correct), "; ".join((fault or "correct", *answer.notes)))


def _fault(answer: CountdownAnswer, numbers: Sequence[int], target: int) -> str | None:
    """Return the error of a parsed answer; None if it is correct."""
    if sorted(answer.numbers) != sorted(numbers):
        used, given = (", ".join(map(str, sorted(n))) for n in (answer.numbers, numbers))
        return f"it uses {used}, not {given} once each"
    if answer.value is None:
        return "it divides by zero"
    if answer.value != target:
        return f"its value is {answer.value}, not {target}"
    if answer.claim not in (None, target):
        return f"it contains '= {answer.claim}', but the target is {target}"
    return None
