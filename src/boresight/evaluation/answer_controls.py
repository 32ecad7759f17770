"""Detect repeated and copied answers of a system, which a judge of single prompts cannot see.

- repeated: the same or nearly the same text answers many prompts. Judges prefer some such texts to real
  answers (Zheng et al. 2024, arXiv 2410.07137);
- echoes: answers that equal or nearly equal their own prompt, or begin with all of it.

Such a fault does not invalidate a win rate, but limits its interpretation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from boresight.core.schema import Prompt
from boresight.evaluation.shingles import jaccard, shingles, word_list
from boresight.stats.intervals import Interval, share_interval

CENTERS = 20
"""Number of randomly chosen answers that all answers are compared with, in addition to the most frequent one.

The probability that they contain no instance of a text that a fifth of the answers have is about 1/90.
"""
NEAR = 0.7
"""Minimum Jaccard similarity of the word 3-grams of two answers that count as nearly the same."""
LEAST, LEAST_SHORT = 0.2, 0.8
"""Minimum shares of prompts, by their lower 95 % limits, for a warning.

`LEAST_SHORT` is for a short repeated answer, since many short answers, such as yes and no, may be identical
and right. `LEAST` is for a longer repeated answer, and for copies of the prompts.
"""
SHORT = 12
"""Minimum number of words of an answer that is not short, and of a prompt that is searched for in answers."""
SHOWN = 60
"""Maximum number of characters of a repeated answer that are printed."""


@dataclass(frozen=True, slots=True)
class AnswerControls:
    """Repeated and copied answers of a system, over the prompts that it answered.

    `text` is an example of the most repeated answer, and `repeated` measures how often it occurs.
    """

    distinct: int
    """Number of different answers, ignoring letter case, punctuation and spaces."""
    repeated: Interval
    """Share of answers that are the same as `text` or nearly the same."""
    text: str
    echoes: Interval
    """Share of answers that equal or nearly equal their prompt, or begin with it."""

    @property
    def fault(self) -> str:
        """Short description of the fault of the answers; '' if there is none."""
        short = len(word_list(self.text)) < SHORT
        if self.repeated.low >= (LEAST_SHORT if short else LEAST):
            return "one answer to many prompts"
        return "copies of the prompts" if self.echoes.low >= LEAST else ""

    def caution(self, system: str) -> str:
        """Return a warning about the fault of `system`'s answers, with n; '' if there is no fault."""
        if not self.fault:
            return ""
        if self.fault == "copies of the prompts":
            return f"But {_of(self.echoes)} answers of {system} repeat their prompt."
        text = self.text if len(self.text) <= SHOWN else f"{self.text[:SHOWN]}…"
        return (
            f"But {system} gives one answer, or nearly, to {_of(self.repeated)} prompts ({text!r}): the "
            "judge compared that text, not answers to the prompts."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the counts and the fault as a dictionary, as in `evaluation.json`."""
        return asdict(self) | {"fault": self.fault}


def answer_controls(
    prompts: Sequence[Prompt], answers: Sequence[str | None], seed: int = 0
) -> AnswerControls | None:
    """Detect repeated answers and copied prompts in the answers of one system.

    Args:
        answers: `answers[i]` is the answer to `prompts[i]`, None if it is missing.
        seed: seed for choosing the answers that all others are compared with.

    Returns:
        None if all answers are missing.
    """
    given = [(prompt, text) for prompt, text in zip(prompts, answers, strict=True) if text is not None]
    if not given:
        return None
    texts = [" ".join(word_list(text)) for _, text in given]
    sets = [shingles(text.split(), 3) for text in texts]
    group = max((_near(sets, center) for center in _centers(texts, seed)), key=sum)
    return AnswerControls(
        distinct=len(set(texts)),
        repeated=share_interval(group),
        text=next(text for (_, text), near in zip(given, group, strict=True) if near),
        echoes=share_interval([_repeats(prompt, text) for prompt, text in given]),
    )


def _centers(texts: Sequence[str], seed: int) -> list[int]:
    """Return the indices of the most frequent text and of `CENTERS` randomly chosen ones."""
    most_frequent = Counter(texts).most_common(1)[0][0]
    drawn = np.random.default_rng((seed, 13)).permutation(len(texts))[:CENTERS]
    return [texts.index(most_frequent), *map(int, drawn)]


def _near(sets: Sequence[set[str]], center: int) -> list[bool]:
    """Return, for each answer, whether it is the same or nearly the same as the answer at index `center`.

    Each set contains the word 3-grams of an answer; empty sets are equal.
    """
    return [own == sets[center] or jaccard(own, sets[center]) >= NEAR for own in sets]


def _repeats(prompt: Prompt, answer: str) -> bool:
    asked, said = word_list(prompt.prompt[-1]["content"] if prompt.prompt else ""), word_list(answer)
    if len(asked) < SHORT:
        return bool(asked) and asked == said
    begins = said[: len(asked)] == asked
    return begins or jaccard(shingles(asked, 3), shingles(said, 3)) >= NEAR


def _of(share: Interval) -> str:
    return f"{round(share.value * share.n):,} of {share.n:,}"
