"""Instructions on the number of words, sentences and paragraphs."""

from __future__ import annotations

import re

from boresight.tasks.ifeval import english
from boresight.tasks.ifeval.parameters import Relation, compare_count

PARAGRAPH_DIVIDER = "***"
"""Separator of paragraphs for instructions on their number.

For instructions on the first word of a paragraph, paragraphs are separated by blank lines.
"""

WORD_END = re.compile(r"[.,?!'\"]")


def word_count_holds(text: str, *, num_words: int, relation: Relation) -> bool:
    """Whether the number of words is at least, or less than, `num_words`.

    A word is a run of letters, digits and underscores.
    """
    return compare_count(len(re.findall(r"\w+", text)), relation, num_words)


def sentence_count_holds(text: str, *, num_sentences: int, relation: Relation) -> bool | None:
    """Whether the number of sentences is at least, or less than, `num_sentences`; None if it takes too long.

    Sentences are split by Punkt's English model.
    """
    sentences = english.split_sentences(text)
    return None if sentences is None else compare_count(len(sentences), relation, num_sentences)


def has_paragraphs(text: str, *, num_paragraphs: int) -> bool:
    """Whether there are exactly `num_paragraphs` paragraphs between dividers.

    There may also be a divider before the first paragraph and after the last one.
    """
    filled = [bool(part.strip()) for part in text.split(PARAGRAPH_DIVIDER)]
    return all(filled[1:-1]) and sum(filled) == num_paragraphs


def paragraph_starts_with(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Whether the paragraph number `nth_paragraph` begins with `first_word`, ignoring case.

    Paragraphs are separated by blank lines, and there must be exactly `num_paragraphs`.
    """
    paragraphs = [part.strip() for part in text.split("\n\n")]
    count = sum(map(bool, paragraphs))
    if count != num_paragraphs or nth_paragraph > count:
        return False
    words = paragraphs[nth_paragraph - 1].split(maxsplit=1)
    return bool(words) and _bare(words[0]) == first_word.lower()


def _bare(word: str) -> str:
    """Return the beginning of a word, in lower case, up to its first punctuation mark.

    Leading quotation marks are removed.
    """
    return WORD_END.split(word.lstrip("'").lstrip('"').lower(), maxsplit=1)[0]
