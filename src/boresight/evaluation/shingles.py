"""Measure the overlap of two texts by their word n-grams."""

from __future__ import annotations

import re
from collections.abc import Sequence


def word_list(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


def shingles(words: Sequence[str], size: int) -> set[str]:
    """Return all n-grams of `size` words; the whole text if it is shorter.

    >>> sorted(shingles(["a", "b", "c"], 2))
    ['a b', 'b c']
    """
    if len(words) <= size:
        return {" ".join(words)} if words else set()
    return {" ".join(words[i : i + size]) for i in range(len(words) - size + 1)}


def jaccard(a: set[str], b: set[str]) -> float:
    """Return the Jaccard similarity: size of the intersection divided by size of the union; 0 for two empty
    sets."""
    return len(a & b) / len(a | b) if a or b else 0.0
