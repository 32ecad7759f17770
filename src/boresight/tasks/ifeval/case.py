"""Instructions on upper and lower case."""

from __future__ import annotations

from boresight.tasks.ifeval import english
from boresight.tasks.ifeval.language import is_in_language
from boresight.tasks.ifeval.parameters import Relation, compare_count


def is_english_in_capitals(text: str) -> bool | None:
    """Whether the text has no small letter and is English; None if no language can be detected."""
    return text.isupper() and is_in_language(text, language="en")


def is_english_in_lower_case(text: str) -> bool | None:
    """Whether the text has no capital letter and is English; None if no language can be detected."""
    return text.islower() and is_in_language(text, language="en")


def capital_word_count_holds(text: str, *, capital_frequency: int, capital_relation: Relation) -> bool | None:
    """Whether the number of tokens in capital letters is at least, or less than, `capital_frequency`.

    `I` and both parts of `DON'T` are such tokens. None if splitting the text takes too long.
    """
    tokens = english.split_words(text)
    if tokens is None:
        return None
    return compare_count(sum(token.isupper() for token in tokens), capital_relation, capital_frequency)
