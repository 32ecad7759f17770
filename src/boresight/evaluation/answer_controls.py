"""Repeated and copied answers of a system, which a judge of single prompts cannot detect.

- repeated: one text, or nearly one, to many prompts. Judges prefer some such texts to real answers
  (Zheng et al. 2024, arXiv 2410.07137);
- echoes: answers that are their own prompt, or begin with all of it.

A fault does not invalidate a win rate, but limits its interpretation.
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
"""Answers with which all others are compared; a text shared by a fifth of the answers is missed with
probability 1/90."""
NEAR = 0.7
"""Jaccard similarity of word 3-grams from which two answers count as nearly the same."""
LEAST, LEAST_SHORT = 0.2, 0.8
"""Share of the prompts, by its lower 95 % limit, from which a warning is given. Of short answers, such as yes
and no, many may be the same and right."""
SHORT = 12
"""Words below which an answer counts as short, and a prompt as too short to be searched for in an answer."""
SHOWN = 60
"""Characters of a repeated answer that are printed."""


@dataclass(frozen=True, slots=True)
class AnswerControls:
    """Counts over the prompts that a system answered. `text` is the answer that `repeated` is about."""

    distinct: int
    """Number of different answers, ignoring letter case, punctuation and spaces."""
    repeated: Interval
    """Share of answers that are `text` or nearly."""
    text: str
    echoes: Interval
    """Share of answers that are their prompt or nearly, or begin with it."""

    @property
    def fault(self) -> str:
        """The fault of the answers as a short phrase; '' if there is none."""
        short = len(word_list(self.text)) < SHORT
        if self.repeated.low >= (LEAST_SHORT if short else LEAST):
            return "one answer to many prompts"
        return "copies of the prompts" if self.echoes.low >= LEAST else ""

    def caution(self, system: str) -> str:
        """A warning about the fault of `system`'s answers, with n; '' if `fault` is empty."""
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
        """The counts as a dictionary, as in `evaluation.json`."""
        return asdict(self) | {"fault": self.fault}


def answer_controls(
    prompts: Sequence[Prompt], answers: Sequence[str | None], seed: int = 0
) -> AnswerControls | None:
    """Check the answers for repetition and copied prompts; `answers[i]` answers `prompts[i]`, None if
    missing. Returns None if all are missing."""
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
    """Places of the most frequent answer and of some drawn ones."""
    most_frequent = Counter(texts).most_common(1)[0][0]
    drawn = np.random.default_rng((seed, 13)).permutation(len(texts))[:CENTERS]
    return [texts.index(most_frequent), *map(int, drawn)]


def _near(sets: Sequence[set[str]], center: int) -> list[bool]:
    """Which answers are that at `center` or nearly; empty answers are close to each other."""
    return [own == sets[center] or jaccard(own, sets[center]) >= NEAR for own in sets]


def _repeats(prompt: Prompt, answer: str) -> bool:
    asked, said = word_list(prompt.prompt[-1]["content"] if prompt.prompt else ""), word_list(answer)
    if len(asked) < SHORT:
        return bool(asked) and asked == said
    begins = said[: len(asked)] == asked
    return begins or jaccard(shingles(asked, 3), shingles(said, 3)) >= NEAR


def _of(share: Interval) -> str:
    return f"{round(share.value * share.n):,} of {share.n:,}"
