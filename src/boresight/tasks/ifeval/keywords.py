"""Instructions on words, letters and commas that an answer must contain or avoid.

Keywords are matched as literal text. The published code uses them as regular expressions, which gives the
same result for every keyword of the data set, but with which a keyword in a row could make the program hang.
"""

from __future__ import annotations

import re

from boresight.tasks.ifeval.parameters import Relation, compare_count


def contains_keywords(text: str, *, keywords: tuple[str, ...]) -> bool:
    """Whether every keyword occurs, ignoring case, also within a longer word."""
    return all(_occurs(keyword, text) for keyword in keywords)


def keyword_frequency_holds(text: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    """Whether the keyword occurs at least, or less than, `frequency` times.

    Occurrences do not overlap, may be inside a longer word, and are counted without regard to case.
    """
    return compare_count(_occurs(keyword, text), relation, frequency)


def avoids_words(text: str, *, forbidden_words: tuple[str, ...]) -> bool:
    """Whether no forbidden word occurs as a separate word."""
    return not any(_occurs_as_word(word, text) for word in forbidden_words)


def letter_frequency_holds(text: str, *, letter: str, let_frequency: int, let_relation: Relation) -> bool:
    """Whether the letter occurs at least, or less than, `let_frequency` times, ignoring case."""
    return compare_count(text.lower().count(letter), let_relation, let_frequency)


def avoids_commas(text: str) -> bool:
    """Whether no comma occurs."""
    return "," not in text


def _occurs(phrase: str, text: str) -> int:
    return len(re.findall(re.escape(phrase), text, re.IGNORECASE))


def _occurs_as_word(phrase: str, text: str) -> bool:
    return re.search(r"(?<!\w)" + re.escape(phrase) + r"(?!\w)", text, re.IGNORECASE) is not None
