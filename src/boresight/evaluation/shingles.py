"""How much two texts have in common, by runs of words."""

from __future__ import annotations

import re
from collections.abc import Sequence


def word_list(text: str) -> list[str]:
    """Lower-case words, punctuation aside: what counts as equal."""
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
    """Share of the union that both have."""
    return len(a & b) / len(a | b) if a or b else 0.0
