"""Measurements on text that the data checks use."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from boresight.stats.intervals import sign_test

MARKERS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<start_of_turn>",
    "[INST]",
    "[/INST]",
    "<|assistant|>",
    "<|endoftext|>",
)
DAMAGE = (
    "\ufffd",
    "\u00c3\u00a9",
    "\u00e2\u20ac\u2122",
    "\u00e2\u20ac\u0153",
    "\u00c3\u00bc",
    "\u00c2\u00a0",
)
"""The replacement character, and UTF-8 read as Windows-1252: é, ’, “, ü and the hard space."""
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
REFUSALS = ("as an ai", "i'm sorry, but", "i cannot", "i can't assist", "i am unable to", "i'm not able to")
SCRIPTS = {
    "Latin": re.compile(r"[A-Za-z\u00c0-\u024f]"),
    "Cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "Arabic": re.compile(r"[\u0600-\u06ff]"),
    "Indic": re.compile(r"[\u0900-\u0dff]"),
    "Han": re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]"),
}
CHANCE = 0.001
"""p-value below which a phrase's counts on both sides differ. It is small, since many phrases are tried."""
WORD = re.compile(r"\w+")


def has_markers(words: str) -> bool:
    """Whether a chat template was applied to the text already."""
    return any(marker in words for marker in MARKERS)


def is_damaged(words: str) -> bool:
    """Whether the text was decoded with the wrong encoding somewhere."""
    return any(sign in words for sign in DAMAGE) or CONTROL.search(words) is not None


def distance(a: str, b: str) -> float:
    """Share of the longer text outside the common start and end: 0 for equal texts, at most 1.

    An upper bound of the normalized edit distance, exact where the texts differ in one place.
    """
    longest = max(len(a), len(b))
    if not longest:
        return 0.0
    start = common_prefix(a, b)
    end = common_prefix(a[start:][::-1], b[start:][::-1])
    return 1 - (start + end) / longest


def common_prefix(a: str, b: str) -> int:
    """Length of the common start, by bisection over slices, which compare at the speed of memory."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def script(words: str) -> str:
    """The script (Latin, Cyrillic, …) of most letters at the start of the text; '' if it has few letters."""
    counts = {name: len(pattern.findall(words[:400])) for name, pattern in SCRIPTS.items()}
    name = max(counts, key=lambda key: counts[key])
    return name if counts[name] >= 5 else ""


def overlap_gaps(rows: Sequence[tuple[str, str, str]]) -> np.ndarray:
    """Share of its own prompt that an answer repeats, minus its share of the next row's prompt, `(n,)`.

    `rows` are `(id, prompt, answer)`. A word weighs `log(rows / prompts that have it)`, so words of all
    prompts have no weight. Rows with the same prompt as the next carry no information and are skipped.
    """
    prompts = [_words(prompt) for _, prompt, _ in rows]
    common = Counter(word for prompt in prompts for word in prompt)
    weight = {word: math.log(len(rows) / count) for word, count in common.items()}

    def repeated(prompt: set[str], answer: set[str]) -> float:
        return sum(weight[word] for word in prompt & answer) / sum(weight[word] for word in prompt)

    gaps = []
    for own, other, (_, _, answer) in zip(prompts, [*prompts[1:], prompts[0]], rows, strict=True):
        if own != other and any(weight[word] for word in own) and any(weight[word] for word in other):
            words = _words(answer)
            gaps.append(repeated(own, words) - repeated(other, words))
    return np.array(gaps or [1.0])


class PredictivePhrase(NamedTuple):
    """A phrase, the side of the pairs that has it more often, and its share of the answers on that side and
    on the other."""

    text: str
    side: str
    share: float
    other: float


def predictive_phrases(answers: Sequence[tuple[str, str]]) -> list[PredictivePhrase]:
    """The openings, endings and refusals that predict which answer is chosen, the best one first.

    One side has each in at least a tenth of the answers, four times as often as the other, and not by chance
    (`CHANCE`).
    """
    chosen, rejected = (
        Counter(phrase for answer in side for phrase in _phrases(answer))
        for side in zip(*answers, strict=True)
    )
    total = len(answers)
    found = []
    for mine, other, name in ((chosen, rejected, "chosen"), (rejected, chosen, "rejected")):
        for phrase, count in mine.items():
            share, there = count / total, other[phrase] / total
            if share >= 0.1 and share > 4 * there and sign_test(count, other[phrase]) < CHANCE:
                found.append(PredictivePhrase(phrase, name, share, there))
    return sorted(found, key=lambda phrase: (phrase.other - phrase.share, phrase.text))


def _phrases(answer: str) -> set[str]:
    """Opening, ending and refusals of one answer."""
    lower = answer[:200].lower()
    found = {phrase for phrase in REFUSALS if phrase in lower}
    head, tail = answer[:80].split(), answer[-80:].split()
    if len(head) >= 3:
        found.add(" ".join(head[:3]))
    if len(tail) >= 4:
        found.add(" ".join(tail[-3:]))
    return found


def _words(words: str) -> set[str]:
    return {word for word in WORD.findall(words[:2000].lower()) if len(word) > 2 or word.isdigit()}
