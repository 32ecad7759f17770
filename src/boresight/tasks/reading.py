"""Answer readers of rewards: functions that extract the answer that a reward grades.

    @reads(reading)                     # reading(completion, row) -> AnswerReading, or the answer alone
    def correct(prompts, completions, rows): ...

An evaluation uses the reader to count votes (majority of k) and to compute the share of answers with the
required form. For a reward without a reader, neither is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
READING = "reading"


@dataclass(frozen=True, slots=True)
class AnswerReading:
    """The answer that was extracted from one completion.

    Attributes:
        answer: normalized text, equal for equal answers, by which votes are counted; None without an answer.
        formatted: whether the completion has the required form.
        decided_by: names of the extraction rules that decide the grade, such as "the last of several
            <answer>".
    """

    answer: str | None
    formatted: bool
    decided_by: tuple[str, ...] = ()


AnswerReader = Callable[..., "AnswerReading | str | None"]
"""Function that extracts the answer of a completion, given the other columns of the row.

It returns an `AnswerReading`, or the answer alone. Options of the reward are passed as keyword arguments if
the reader has parameters for them.
"""


def reads(reader: AnswerReader) -> Callable[[F], F]:
    """Decorate a reward function with the reader of its answers."""

    def decorate(function: F) -> F:
        setattr(function, READING, reader)
        return function

    return decorate


def reader_of(function: Callable[..., Any]) -> AnswerReader | None:
    """Return the reader of a reward function: its attribute `reading`, which the decorator `reads` sets.

    None if it has none.
    """
    found = getattr(function, READING, None)
    return found if callable(found) else None


def read_by(reader: AnswerReader, completion: str, row: Mapping[str, Any]) -> AnswerReading:
    """Apply a reader to a completion.

    If the reader returns the answer alone, `formatted` is whether there is an answer.
    """
    found = reader(completion, row)
    if isinstance(found, AnswerReading):
        return found
    if found is None or isinstance(found, str):
        return AnswerReading(found, found is not None)
    raise TypeError(f"the reading is a {type(found).__name__}, not an AnswerReading, text or None")
