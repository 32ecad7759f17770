"""Numbers of words, sentences and paragraphs."""

from __future__ import annotations

import re

from boresight.tasks.ifeval import english
from boresight.tasks.ifeval.parameters import Relation, compare_count

PARAGRAPH_DIVIDER = "***"
"""Separator of paragraphs for instructions on their number alone; those on a first word use blank lines."""

WORD_END = re.compile(r"[.,?!'\"]")


def word_count_holds(text: str, *, num_words: int, relation: Relation) -> bool:
    """Whether the number of words (runs of letters, digits and underscores) has the relation to
    `num_words`."""
    return compare_count(len(re.findall(r"\w+", text)), relation, num_words)


def sentence_count_holds(text: str, *, num_sentences: int, relation: Relation) -> bool | None:
    """Whether the number of sentences, by Punkt's English model, has the relation to `num_sentences`; None
    if it takes too long."""
    sentences = english.split_sentences(text)
    return None if sentences is None else compare_count(len(sentences), relation, num_sentences)


def has_paragraphs(text: str, *, num_paragraphs: int) -> bool:
    """Whether there are exactly `num_paragraphs` paragraphs between dividers. A divider may also come
    before the first and after the last."""
    filled = [bool(part.strip()) for part in text.split(PARAGRAPH_DIVIDER)]
    return all(filled[1:-1]) and sum(filled) == num_paragraphs


def paragraph_starts_with(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Whether there are exactly `num_paragraphs` paragraphs between blank lines, and the nth begins with
    the word."""
    paragraphs = [part.strip() for part in text.split("\n\n")]
    count = sum(map(bool, paragraphs))
    if count != num_paragraphs or nth_paragraph > count:
        return False
    words = paragraphs[nth_paragraph - 1].split(maxsplit=1)
    return bool(words) and _bare(words[0]) == first_word.lower()


def _bare(word: str) -> str:
    """The word in lower case, without quotation marks before it and punctuation from the first mark on."""
    return WORD_END.split(word.lstrip("'").lstrip('"').lower(), maxsplit=1)[0]
