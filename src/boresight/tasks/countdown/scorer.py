"""The Countdown verifier."""

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
    """The verdict on one completion. `formatted` and `correct` are independent; `reason` explains the
    result."""

    correct: bool
    formatted: bool
    reward: float
    reason: str


def score(completion: str, numbers: Sequence[int], target: int, mode: Mode = "strict") -> CountdownScore:
    """Grade a completion: the text that the model wrote, without its prompt. Never raises on any text.

    `strict` is the verifier. The last `<answer>` must hold whole numbers, `+ - * /` and parentheses, use
    every given number exactly once and equal the target exactly. `×`, `÷`, `−` and a trailing `= target`
    are accepted and mentioned in the reason. Powers, `//`, decimals, a sign in front of a number, leading
    zeros, other digits than 0-9 and an answer that stands in a prompt are not. `formatted`: an answer of that
    form is there, whatever its numbers and value; the reward is 1 if correct, else 0.

    `compat` is the public 0 / 0.1 / 1 grader, faults included, for comparison with published numbers
    (`boresight.tasks.countdown.compat`). There `formatted` means that the tags are there.

    Raises:
        UserError: an unknown mode.
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
    """The error of a readable answer, or None."""
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
