"""Interfaces of scorers, which score one answer, and of judges, which compare two.

    scores = scorer.score(prompts, answers)          # one Score per answer
    judgments = judge.compare(prompts, a, b)       # one Judgment per prompt; 1: a is better

Reward functions, verifiers and reward models are scorers. Every scorer is a judge too: the answer with the
higher score wins. Only scores of answers to the same prompt are compared. Other judges compare two answers
directly. A prompt has its conversation in `prompt` and its other columns (reference answers, numbers,
constraints) in `meta`.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol

from boresight.config.section import Section
from boresight.core.errors import UserError
from boresight.core.schema import Prompt

Answers = Sequence[str | None]

NO_ANSWER = "there is no answer to judge"


class JudgeConfig(Section):
    """Base class of the settings of judges."""

    needs_ledger: ClassVar[bool] = False
    """Whether replies or scores are stored in a ledger because they are expensive."""


@dataclass(frozen=True, slots=True)
class Score:
    """Score of one answer; `value` is None if scoring failed, and `failure` is the reason."""

    value: float | None
    reasoning: str = ""
    failure: str = ""
    declined: bool = False
    """Whether the scorer declined to judge: the score is missing, but nothing failed."""

    def checked(self) -> Score:
        """Return the score if its value is finite, else a score without a value and with the reason.

        NaN would otherwise compare as a loss.
        """
        if self.value is None:
            return self if self.failure else replace(self, failure="no score")
        if math.isfinite(self.value):
            return self
        return Score(None, self.reasoning, f"the score is {self.value}, not a finite number")


DECLINED = Score(None, failure="the function declined to judge", declined=True)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict of a pairwise judge on one order of the two answers.

    `first` is the answer that was shown first.
    """

    first: Literal["a", "b"]
    preference: float | None
    """1 for a, 0.5 for a tie, 0 for b; None if there is no reply or it cannot be parsed."""
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Judgment:
    """Result of comparing two answers, a and b."""

    preference: float | None
    """1 if a is better, 0.5 for a tie, 0 if b is better; None if judging failed.

    The verdicts of several raters are averaged.
    """
    scores: tuple[float, float] | None = None
    verdicts: tuple[Verdict, ...] = ()
    reasoning: str = ""
    failure: str = ""

    @property
    def flipped(self) -> bool:
        """Whether the preferred answer changed with the order in which the answers were shown."""
        return {v.preference for v in self.verdicts} >= {0.0, 1.0}


class Judge(Protocol):
    """Compares two answers to a prompt.

    An answer that is None was never generated; such a pair is a failure.
    """

    name: str

    def compare(self, prompts: Sequence[Prompt], a: Answers, b: Answers, repeat: int = 0) -> list[Judgment]:
        """Compare `a[i]` with `b[i]` as answers to `prompts[i]`.

        Equal calls return the stored judgment. A call with another `repeat` judges the answers again, which
        measures the agreement of a judge with itself.
        """
        ...


class Scorer(ABC):
    """Scores answers one by one, and compares two answers by their scores.

    `compare` caches scores, so each (prompt, answer, repeat) is scored once.
    """

    name: str

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], Score] = {}

    @abstractmethod
    def score(self, prompts: Sequence[Prompt], answers: Sequence[str], repeat: int = 0) -> list[Score]:
        """Return one score per answer; `answers[i]` answers `prompts[i]`.

        `repeat` is described at `Judge.compare`.
        """

    def compare(self, prompts: Sequence[Prompt], a: Answers, b: Answers, repeat: int = 0) -> list[Judgment]:
        """Compare answers by their scores: the higher score wins, equal scores are a tie.

        A missing score is a failure.
        """
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
            self._known.update(zip(new, (score.checked() for score in scores), strict=True))
        return [Score(None, failure=NO_ANSWER) if key is None else self._known[key] for key in keys]


class Verifier(Scorer):
    """Scorer that calls a function `verify(prompt, answer)`, which returns a number, a `Score` or None.

    If the function returns None, it declined to judge. If it raises, the answer has no score, and the error
    is the reason of the failure.
    """

    def __init__(self, name: str, verify: Callable[[Prompt, str], Score | float | None]) -> None:
        super().__init__()
        self.name, self.verify = name, verify

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str], repeat: int = 0) -> list[Score]:
        """Call the function once per answer and return the scores."""
        return [self._score(prompt, text) for prompt, text in zip(prompts, answers, strict=True)]

    def _score(self, prompt: Prompt, answer: str) -> Score:
        try:
            found = self.verify(prompt, answer)
        except UserError as error:
            return Score(None, failure=str(error))
        except Exception as error:  # an error on one answer must not end the evaluation
            return Score(None, failure=f"{type(error).__name__}: {error}")
        if found is None:
            return DECLINED
        return found if isinstance(found, Score) else Score(float(found))


def _by_score(a: Score, b: Score) -> Judgment:
    reasoning = "\n\n".join(f"{side}: {s.reasoning}" for side, s in (("a", a), ("b", b)) if s.reasoning)
    if a.value is None or b.value is None:
        return Judgment(None, reasoning=reasoning, failure=a.failure or b.failure)
    preference = 0.5 if a.value == b.value else float(a.value > b.value)
    return Judgment(preference, scores=(a.value, b.value), reasoning=reasoning)
