"""Words, letters and commas that an answer must contain or avoid.

Keywords are literal text here. The published code searches for them as regular expressions, which is the same
for every keyword of the data set, and would let a row's keyword stop the program.
"""

from __future__ import annotations

import re

from boresight.tasks.ifeval.parameters import Relation, compare_count


def contains_keywords(text: str, *, keywords: tuple[str, ...]) -> bool:
    """Every keyword occurs, in upper or lower case, also within a longer word."""
    return all(_occurs(keyword, text) for keyword in keywords)


def keyword_frequency_holds(text: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    """The keyword occurs so often, without overlaps, in upper or lower case, also within longer words."""
    return compare_count(_occurs(keyword, text), relation, frequency)


def avoids_words(text: str, *, forbidden_words: tuple[str, ...]) -> bool:
    """No forbidden word occurs as a word of its own."""
    return not any(_occurs_as_word(word, text) for word in forbidden_words)


def letter_frequency_holds(text: str, *, letter: str, let_frequency: int, let_relation: Relation) -> bool:
    """The letter occurs so often, in upper or lower case."""
    return compare_count(text.lower().count(letter), let_relation, let_frequency)


def avoids_commas(text: str) -> bool:
    """No comma occurs."""
    return "," not in text


def _occurs(phrase: str, text: str) -> int:
    return len(re.findall(re.escape(phrase), text, re.IGNORECASE))


def _occurs_as_word(phrase: str, text: str) -> bool:
    return re.search(r"(?<!\w)" + re.escape(phrase) + r"(?!\w)", text, re.IGNORECASE) is not None
