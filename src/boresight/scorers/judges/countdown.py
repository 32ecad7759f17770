"""The Countdown verifier as judge: a solution beats a wrong answer; two of a kind tie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.scorers.judges.base import JudgeConfig, Score, Scorer


class Config(JudgeConfig):
    """How answers are scored."""

    mode: Literal["strict", "compat"] = "strict"
    """`compat` is the public 0 / 0.1 / 1 grader, faults included."""
    format_credit: float = 0.0
    """Worth of a wrong answer of the right form; above 0, it beats one without form."""


def build(config: Config, completer: object = None, console: object = None) -> Countdown:
    """A judge that needs nothing but the problems, which prompts carry in their meta."""
    return Countdown(config)


class Countdown(Scorer):
    """Scores are 1 for a solution, `format_credit` for a wrong answer of the right form, else 0."""

    def __init__(self, config: Config):
        super().__init__()
        self.name = f"Countdown verifier, {config.mode}"
        self.config = config

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str], repeat: int = 0) -> list[Score]:
        """One value an answer; a prompt without a problem is a failure."""
        return [self._score(p, text) for p, text in zip(prompts, answers, strict=True)]

    def _score(self, prompt: Prompt, text: str) -> Score:
        from boresight.tasks.countdown.problems import problem_of
        from boresight.tasks.countdown.scorer import score

        try:
            problem = problem_of(prompt.meta, f"prompt {prompt.id}")
        except UserError as error:
            return Score(None, failure=str(error))
        found = score(text, problem.numbers, problem.target, self.config.mode)
        return Score(1.0 if found.correct else self.config.format_credit * found.formatted, found.reason)
