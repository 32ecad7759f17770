"""Words, letters and commas that an answer must contain or avoid.

Keywords are literal text here. The published code searches for them as regular expressions, which is the same
for every keyword of the data set, and a keyword of a row could then make the program hang.
"""

from __future__ import annotations

import re

from boresight.tasks.ifeval.parameters import Relation, compare_count


def contains_keywords(text: str, *, keywords: tuple[str, ...]) -> bool:
    """Whether every keyword occurs, ignoring case, also within a longer word."""
    return all(_occurs(keyword, text) for keyword in keywords)


def keyword_frequency_holds(text: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    """Whether the number of occurrences of the keyword has the relation to `frequency`: without overlaps,
    ignoring case, also within longer words."""
    return compare_count(_occurs(keyword, text), relation, frequency)


def avoids_words(text: str, *, forbidden_words: tuple[str, ...]) -> bool:
    """Whether no forbidden word occurs as a separate word."""
    return not any(_occurs_as_word(word, text) for word in forbidden_words)


def letter_frequency_holds(text: str, *, letter: str, let_frequency: int, let_relation: Relation) -> bool:
    """Whether the number of occurrences of the letter, ignoring case, has the relation to `let_frequency`."""
    return compare_count(text.lower().count(letter), let_relation, let_frequency)


def avoids_commas(text: str) -> bool:
    """Whether no comma occurs."""
    return "," not in text


def _occurs(phrase: str, text: str) -> int:
    return len(re.findall(re.escape(phrase), text, re.IGNORECASE))


def _occurs_as_word(phrase: str, text: str) -> bool:
    return re.search(r"(?<!\w)" + re.escape(phrase) + r"(?!\w)", text, re.IGNORECASE) is not None
