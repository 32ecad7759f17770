"""Overlap of two texts in runs of words."""

from __future__ import annotations

import re
from collections.abc import Sequence


def word_list(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


def shingles(words: Sequence[str], size: int) -> set[str]:
    """All runs of `size` words; the whole text where it is shorter.

    >>> sorted(shingles(["a", "b", "c"], 2))
    ['a b', 'b c']
    """
    if len(words) <= size:
        return {" ".join(words)} if words else set()
    return {" ".join(words[i : i + size]) for i in range(len(words) - size + 1)}


def jaccard(a: set[str], b: set[str]) -> float:
    """Jaccard similarity: the size of the intersection over that of the union."""
    return len(a & b) / len(a | b) if a or b else 0.0
