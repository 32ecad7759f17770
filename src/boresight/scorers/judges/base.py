"""The interface of judges, and what follows from scores alone.

    judgements = judge.compare(prompts, a, b)        # one Judgement a prompt; 1 says that a is better

A judge that scores answers one by one is a `Scorer`: it implements `score`, and the higher score wins. Scores
compare within a prompt only. An answer that is None was never generated; nothing is asked about it.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from boresight.core.schema import Prompt

Answers = Sequence[str | None]

NO_ANSWER = "there is no answer to judge"


class JudgeConfig(BaseModel):
    """Base of judges' settings: unknown keys are errors, fields carry their docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Score:
    """What one answer is worth; `value` is None when judging failed, and `failure` says why."""

    value: float | None
    reasoning: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A pairwise judge's word on one showing: which answer stood first, and which was preferred."""

    first: Literal["a", "b"]
    preference: float | None
    """1 for a, 0.5 for a tie, 0 for b; None when the reply could not be had or read."""
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Which of two answers, a and b, is better."""

    preference: float | None
    """1 for a, 0.5 for a tie, 0 for b; None when judging failed."""
    scores: tuple[float, float] | None = None
    verdicts: tuple[Verdict, ...] = ()
    reasoning: str = ""
    failure: str = ""


class Judge(Protocol):
    """Anything that compares answers."""

    name: str

    def compare(self, prompts: Sequence[Prompt], a: Answers, b: Answers, repeat: int = 0) -> list[Judgement]:
        """Compare `a[i]` with `b[i]` as answers to `prompts[i]`.

        Equal questions get the remembered judgement; another number in `repeat` asks anew, which is how a
        judge's agreement with itself is measured.
        """
        ...


class Scorer(ABC):
    """A judge that scores answers one by one. Each (prompt, answer, repeat) is scored once."""

    name: str

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], Score] = {}

    @abstractmethod
    def score(self, prompts: Sequence[Prompt], answers: Sequence[str], repeat: int = 0) -> list[Score]:
        """What `answers[i]` is worth as an answer to `prompts[i]`."""

    def compare(self, prompts: Sequence[Prompt], a: Answers, b: Answers, repeat: int = 0) -> list[Judgement]:
        """The answer with the higher score wins; equal scores are a tie; a missing score is a failure."""
        scores = self._recall([*prompts, *prompts], [*a, *b], repeat)
        half = len(scores) // 2
        return [_by_score(x, y) for x, y in zip(scores[:half], scores[half:], strict=True)]

    def _recall(self, prompts: Sequence[Prompt], answers: Answers, repeat: int) -> list[Score]:
        keys = [
            None if text is None else (json.dumps([prompt.prompt, prompt.meta], default=str), text, repeat)
            for prompt, text in zip(prompts, answers, strict=True)
        ]
        new = {key: i for i, key in enumerate(keys) if key is not None and key not in self._known}
        if new:
            asked = list(new.values())
            scores = self.score([prompts[i] for i in asked], [answers[i] or "" for i in asked], repeat)
            self._known.update(zip(new, map(_finite, scores), strict=True))
        return [Score(None, failure=NO_ANSWER) if key is None else self._known[key] for key in keys]


def _finite(score: Score) -> Score:
    """A score that is no number is a failure: NaN would lose or tie without a word."""
    if score.value is None or math.isfinite(score.value):
        return score
    return Score(None, score.reasoning, f"the score is {score.value}, not a finite number")


def _by_score(a: Score, b: Score) -> Judgement:
    reasoning = "\n\n".join(f"{side}: {s.reasoning}" for side, s in (("a", a), ("b", b)) if s.reasoning)
    if a.value is None or b.value is None:
        return Judgement(None, reasoning=reasoning, failure=a.failure or b.failure or "no score")
    preference = 0.5 if a.value == b.value else float(a.value > b.value)
    return Judgement(preference, scores=(a.value, b.value), reasoning=reasoning)
