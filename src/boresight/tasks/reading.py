"""Readers of rewards: the answer that a reward grades, its form, and rules that decide the grade.

    @reads(reading)                     # reading(completion, row) -> AnswerReading, or the answer alone
    def correct(prompts, completions, rows): ...

An evaluation uses the reader for votes (majority of k) and for the share of answers with the right form. A
reward without a reader has neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
READING = "reading"


@dataclass(frozen=True, slots=True)
class AnswerReading:
    """The answer extracted from one completion.

    `answer` is a normalized text, equal for equal answers, by which votes are counted; None without an
    answer. `formatted`: whether the completion has the required form. `decided_by` names the rules of
    extraction that decide the grade, such as "the last of several <answer>".
    """

    answer: str | None
    formatted: bool
    decided_by: tuple[str, ...] = ()


AnswerReader = Callable[..., "AnswerReading | str | None"]
"""A function that extracts the answer of a completion, given the row's other columns. It may return the
answer alone. Options of the reward are passed by name if it has a parameter for them."""


def reads(reader: AnswerReader) -> Callable[[F], F]:
    """Decorate a reward function with the reader of its answers."""

    def decorate(function: F) -> F:
        setattr(function, READING, reader)
        return function

    return decorate


def reader_of(function: Callable[..., Any]) -> AnswerReader | None:
    """The reader that a reward function was decorated with, or has as its attribute `reading`."""
    found = getattr(function, READING, None)
    return found if callable(found) else None


def read_by(reader: AnswerReader, completion: str, row: Mapping[str, Any]) -> AnswerReading:
    """Apply a reader to a completion; for a reader that returns the answer alone, `formatted` is whether
    there is one."""
    found = reader(completion, row)
    if isinstance(found, AnswerReading):
        return found
    if found is None or isinstance(found, str):
        return AnswerReading(found, found is not None)
    raise TypeError(f"the reading is a {type(found).__name__}, not an AnswerReading, text or None")
