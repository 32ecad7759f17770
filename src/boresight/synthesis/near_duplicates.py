"""Find prompts that are too similar to others: copies, near-duplicates, overlaps with evaluation data."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from boresight.core.errors import UserError
from boresight.core.schema import Message
from boresight.evaluation.shingles import shingles, word_list

TOKEN = re.compile(
    r"\w+|[+<=>^$]"
    r"|(?<![^\W\d_]{2})-(?=\s?\d)|(?<=\d\s)-"  # a sign or minus, but no hyphen as in gpt-4
    r"|[*/%](?=\s?\d)|(?<=\d)[*/%]|(?<=\d\s)[*/%]"
    r"|(?<=\b\w\s)[-*/](?=\s\w\b)|(?<=\b\w)[-*/](?=\w\b)"  # between variables
    r"|(?<=\w)#|[^\w\s\x00-\x7f]"
)
"""Pattern of a word, of an ASCII sign that is not punctuation in its context, or of a non-ASCII character."""
PERMUTATIONS = 128
SHINGLE = 3
FEWEST = 4


def text_of(messages: Sequence[Message]) -> str:
    """Return the text of all messages of a conversation except system messages."""
    return "\n".join(m["content"] for m in messages if m["role"] != "system")


def fingerprint(text: str) -> str:
    """Return a key that is equal for texts that differ only in case, punctuation and white space.

    Signs with a meaning are not ignored: `17 + 5` and `17 - 5`, `3` and `-3`, `C` and `C++` have different
    keys, as have different emoji.
    """
    tokens = filter(_is_meant, TOKEN.findall(text.lower()))
    return hashlib.sha256(" ".join(tokens).encode("utf-8", "surrogatepass")).hexdigest()


def _is_meant(token: str) -> bool:
    return token[0] < "\x80" or token[0].isalnum() or unicodedata.category(token[0]).startswith("S")


class HeldOut:
    """Evaluation prompts, which must not occur in training data.

    A text overlaps if it has `size` consecutive words in common with one of them. An evaluation prompt with
    fewer words must occur completely in the text. One with fewer than `FEWEST` words must be the entire text,
    since for example "Hello!" occurs in too many others.
    """

    def __init__(self, texts: Iterable[str], size: int) -> None:
        self._runs: dict[int, set[str]] = {}
        for words in map(word_list, texts):
            length = min(len(words), size)
            self._runs.setdefault(length, set()).update(shingles(words, size))

    def overlap(self, text: str) -> str | None:
        """Return a run of words by which the text overlaps with an evaluation prompt, or None."""
        words = word_list(text)
        for length in sorted(self._runs, reverse=True):
            if length < FEWEST and length != len(words):
                continue
            for i in range(len(words) - length + 1):
                if (run := " ".join(words[i : i + length])) in self._runs[length]:
                    return run or None
        return None


class NearDuplicates:
    """Finds near-duplicates of earlier prompts by MinHash over word 3-grams (Broder 1997).

    Raises:
        UserError: the extra `dedup` is not installed.
    """

    def __init__(self, threshold: float) -> None:
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError:
            raise UserError(
                "prompts.near_duplicates: needs the package datasketch; run `pip install 'boresight[dedup]'`."
            ) from None
        self._MinHash = MinHash
        self._index: Any = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
        self._texts: list[str] = []

    def seen(self, text: str) -> str | None:
        """Return an earlier text that is a near-duplicate; if there is none, add `text` and return None."""
        sketch = self._MinHash(num_perm=PERMUTATIONS, seed=1)
        for shingle in shingles(word_list(text), SHINGLE):
            sketch.update(shingle.encode("utf-8", "surrogatepass"))
        if found := self._index.query(sketch):
            return self._texts[min(found)]
        self._index.insert(len(self._texts), sketch)
        self._texts.append(text)
        return None


def copies(texts: Iterable[str]) -> Iterator[bool]:
    """Yield for each text whether a text with the same `fingerprint` occurred before."""
    seen: set[str] = set()
    for text in texts:
        print_ = fingerprint(text)
        yield print_ in seen
        seen.add(print_)
