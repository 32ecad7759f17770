"""Rewards for completions that equal or contain the gold answer of their row. Prompts are not read."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from boresight.tasks.reading import AnswerReading, reads
from boresight.tasks.text.gold import GoldColumn, gold_texts
from boresight.tasks.text.parts import AnswerTag, tagged, without_thought

IgnoreCase = Annotated[bool, Field(description="Whether upper and lower case are equal.")]
IgnorePunctuation = Annotated[bool, Field(description="Whether punctuation is removed from both sides.")]
MostWords = Annotated[
    int | None,
    Field(
        ge=1, description="Largest number of words of a completion with a reward, against lists of guesses."
    ),
]


def exact_reading(
    completion: str,
    row: Mapping[str, Any],
    *,
    tag: AnswerTag = None,
    ignore_case: IgnoreCase = False,
    ignore_punctuation: IgnorePunctuation = False,
    column: GoldColumn = "answer",
) -> AnswerReading:
    """Read the answer of a completion as `exact_match` does.

    The answer is the text that is compared. The reading also reports whether the rule that the last of
    several tags counts decides the grade.
    """
    said = without_thought(completion)
    found = tagged(said, tag)
    answer = None if found is None else _spaced(_folded(found, ignore_case, ignore_punctuation))
    first, closed, _ = said.partition(f"</{tag}>")
    grades = exact_match(
        [],
        [completion, first + closed],
        [row, row],
        column=column,
        tag=tag,
        ignore_case=ignore_case,
        ignore_punctuation=ignore_punctuation,
    )
    decided = () if tag is None or grades[0] == grades[1] else (f"the last of several <{tag}> counts",)
    return AnswerReading(answer, answer is not None, decided)


@reads(exact_reading)
def exact_match(
    prompts: Sequence[Any],
    completions: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    column: GoldColumn = "answer",
    tag: AnswerTag = None,
    ignore_case: IgnoreCase = False,
    ignore_punctuation: IgnorePunctuation = False,
) -> list[float | None]:
    """1 for an answer equal to the gold answer, ignoring white space; else 0. Reasoning is ignored."""

    def plain(text: str) -> str:
        return _spaced(_folded(text, ignore_case, ignore_punctuation))

    def earned(completion: str, row: Mapping[str, Any]) -> float | None:
        golds = [plain(gold) for gold in gold_texts(row, column, "exact")]
        answer = tagged(without_thought(completion), tag)
        if not all(golds):
            return None  # a gold answer of punctuation alone, which would equal every empty answer
        return float(answer is not None and plain(answer) in golds)

    return [earned(completion, row) for completion, row in zip(completions, rows, strict=True)]


def contains_answer(
    prompts: Sequence[Any],
    completions: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    column: GoldColumn = "answer",
    tag: AnswerTag = None,
    ignore_case: IgnoreCase = True,
    max_words: MostWords = None,
) -> list[float]:
    """1 for an answer that contains the gold answer as whole words; else 0. Reasoning is ignored."""

    def plain(text: str) -> str:
        return _spaced(_folded(text, ignore_case, False))

    def earned(completion: str, row: Mapping[str, Any]) -> float:
        golds = [plain(gold) for gold in gold_texts(row, column, "contains")]
        answer = plain(tagged(without_thought(completion), tag) or "")
        if max_words is not None and len(answer.split(" ", max_words)) > max_words:
            return 0.0
        return float(any(_contains_whole(gold, answer) for gold in golds))

    return [earned(completion, row) for completion, row in zip(completions, rows, strict=True)]


def _folded(text: str, ignore_case: bool, ignore_punctuation: bool) -> str:
    text = unicodedata.normalize("NFC", text)
    if ignore_punctuation:
        text = "".join(c for c in text if not unicodedata.category(c).startswith("P"))
    return text.casefold() if ignore_case else text


def _spaced(text: str) -> str:
    """Return the text with every run of white space replaced by one space, and stripped."""
    return " ".join(text.split())


def _contains_whole(gold: str, answer: str) -> bool:
    """Return whether `gold` occurs without adjacent characters that make it another word or number.

    For example, 18 does not occur in -18.5.
    """
    start = answer.find(gold)
    while start >= 0:
        before, after = answer[max(0, start - 1) : start], answer[start + len(gold) : start + len(gold) + 2]
        if not (_continues_before(before, gold) or _continues_after(gold, after)):
            return True
        start = answer.find(gold, start + 1)
    return False


def _continues_before(before: str, gold: str) -> bool:
    if not _is_word(gold[0]):
        return False
    return _is_word(before) or (gold[0].isdigit() and before in (*".,/-−",))


def _continues_after(gold: str, after: str) -> bool:
    if not _is_word(gold[-1]):
        return False
    return _is_word(after[:1]) or (after[:1] in (*".,/",) and after[1:].isdigit())


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
