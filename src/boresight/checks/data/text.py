"""Measure properties of text for the data checks."""

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
"""Character sequences that show wrong decoding: the replacement character, and UTF-8 read as Windows-1252 (é,
’, “, ü and the no-break space)."""
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
"""Maximum p-value at which a phrase counts as more frequent on one side; small, since many phrases are
tested."""
WORD = re.compile(r"\w+")


def has_markers(words: str) -> bool:
    """Return whether the text contains markers of a chat template, such as `<|im_start|>`."""
    return any(marker in words for marker in MARKERS)


def is_damaged(words: str) -> bool:
    """Return whether the text contains characters that result from decoding with the wrong encoding."""
    return any(sign in words for sign in DAMAGE) or CONTROL.search(words) is not None


def distance(a: str, b: str) -> float:
    """Return the share of the longer text outside the common start and end: 0 for equal texts, at most 1.

    The share is an upper bound of the normalized edit distance, and exact if the texts differ in one place.
    """
    longest = max(len(a), len(b))
    if not longest:
        return 0.0
    start = common_prefix(a, b)
    end = common_prefix(a[start:][::-1], b[start:][::-1])
    return 1 - (start + end) / longest


def common_prefix(a: str, b: str) -> int:
    """Return the number of characters that both texts start with (by bisection over slices)."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def script(words: str) -> str:
    """Return the script (Latin, Cyrillic, …) of most letters in the first 400 characters of the text; '' if
    it has fewer than five of them."""
    counts = {name: len(pattern.findall(words[:400])) for name, pattern in SCRIPTS.items()}
    name = max(counts, key=lambda key: counts[key])
    return name if counts[name] >= 5 else ""


def overlap_gaps(rows: Sequence[tuple[str, str, str]]) -> np.ndarray:
    """Compute the overlap of each answer with its own prompt minus that with the next row's, `(n,)`.

    The overlap is the weighted share of the prompt's words that occur in the answer. A word has the weight
    `log(rows / prompts that contain it)`, so words of all prompts have no weight. Rows whose prompt equals
    the next row's carry no information and are skipped.

    Args:
        rows: `(id, prompt, answer)` of each row.
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
    """A phrase that predicts the label.

    `side` is the side of the pairs on which it is more frequent, `share` its share of the answers on that
    side, `other` its share of the answers on the other side.
    """

    text: str
    side: str
    share: float
    other: float


def predictive_phrases(answers: Sequence[tuple[str, str]]) -> list[PredictivePhrase]:
    """Return the openings, endings and refusals that predict which answer is chosen, most predictive first.

    A phrase predicts the label if at least a tenth of the answers of one side contain it, it is more than
    four times as frequent there as on the other side, and the difference is significant (`CHANCE`).
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
    """Return the opening, the ending and the refusals that one answer contains."""
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
