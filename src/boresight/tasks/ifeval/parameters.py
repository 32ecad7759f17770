"""Read the parameters of instructions from a row.

    read_count(3) == 3          read_relation("at least")          read_words(["mom", "mother"])

Each function returns the parsed value, or raises a `ValueError` whose message completes the sentence
"`num_words` …".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Relation = Literal["at least", "less than"]

RELATIONS: tuple[Relation, ...] = ("at least", "less than")
"""The two relations that the data set uses."""

LONGEST = 60
"""Maximum length of a wrong value in an error, in characters."""


def read_count(value: object) -> int:
    """Return a whole number from 0. Tables with gaps store whole numbers as floats, so 3.0 is read as 3."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(whole, bool) or not isinstance(whole, int) or whole < 0:
        raise ValueError(f"is {_shown(value)}; give a whole number from 0")
    return whole


def read_position(value: object) -> int:
    """Return a whole number from 1."""
    if not (place := read_count(value)):
        raise ValueError("is 0; count from 1")
    return place


def read_relation(value: object) -> Relation:
    """Return the relation, `at least` or `less than`."""
    for relation in RELATIONS:
        if value == relation:
            return relation
    raise ValueError(f"is {_shown(value)}; give 'at least' or 'less than'")


def read_phrase(value: object) -> str:
    """Return a text without the white space around it."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"is {_shown(value)}; give a text that is not blank")
    return value.strip()


def read_words(value: object) -> tuple[str, ...]:
    """Return a list of texts, which must not be blank."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ValueError(f"is {_shown(value)}; give a list of words")
    for word in value:
        if not isinstance(word, str) or not word.strip():
            raise ValueError(f"holds {_shown(word)}; give words that are not blank")
    return tuple(value)


def read_letter(value: object) -> str:
    """Return one character, in lower case. The data set has `#` and `!` as well as letters."""
    letter = value.strip().lower() if isinstance(value, str) else ""
    if len(letter) != 1:
        raise ValueError(f"is {_shown(value)}; give one character")
    return letter


def compare_count(count: int, relation: Relation, threshold: int) -> bool:
    """Return whether the count is at least the threshold, or less than it, depending on `relation`."""
    return count >= threshold if relation == "at least" else count < threshold


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
