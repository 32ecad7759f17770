"""How a reward reads a completion: the answer that it grades, its form, and what the reading decides.

    @reads(reading)                     # reading(completion, row) -> AnswerReading, or the answer alone
    def correct(prompts, completions, rows): ...

An evaluation counts votes of answers (majority of k) and answers of the right form by it. A reward without a
reading has neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
READING = "reading"


@dataclass(frozen=True, slots=True)
class AnswerReading:
    """What is read in one completion.

    `answer` is the text that votes are counted by, equal for equal answers, None where there is none.
    `formatted`: whether the form asked for is there. `decided_by` names the rules of reading without
    which the completion would be graded otherwise, such as "the last of several <answer>".
    """

    answer: str | None
    formatted: bool
    decided_by: tuple[str, ...] = ()


AnswerReader = Callable[..., "AnswerReading | str | None"]
"""Reads a completion, given the row's other columns; it may return the answer alone. Of the reward's options
it is given, by name, those that it takes."""


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
    """The reading of a completion; of a reader that returns the answer alone, formatted is an answer."""
    found = reader(completion, row)
    if isinstance(found, AnswerReading):
        return found
    if found is None or isinstance(found, str):
        return AnswerReading(found, found is not None)
    raise TypeError(f"the reading is a {type(found).__name__}, not an AnswerReading, text or None")
