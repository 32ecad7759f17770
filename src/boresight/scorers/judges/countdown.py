"""The Countdown verifier as a judge: a correct answer beats a wrong one.

Two correct answers tie, and so do two wrong ones.
"""

from __future__ import annotations

from typing import Literal

from boresight.core.schema import Prompt
from boresight.scorers.judges.base import JudgeConfig, Score
from boresight.tasks.countdown import scorer
from boresight.tasks.countdown.problems import problem_of

NAME = "Countdown verifier, {mode}"


class Config(JudgeConfig):
    """Settings of the judge: how answers are scored."""

    mode: Literal["strict", "compat"] = "strict"
    """`compat` is the public 0 / 0.1 / 1 grader, faults included."""
    format_credit: float = 0.0
    """Score of a wrong answer of the right form; above 0, it beats one of another form."""


def score(prompt: Prompt, answer: str, config: Config) -> Score:
    """Return 1 for a correct answer, `format_credit` for a wrong answer of the right form, else 0."""
    problem = problem_of(prompt.meta, f"prompt {prompt.id}")
    found = scorer.score(answer, problem.numbers, problem.target, config.mode)
    return Score(1.0 if found.correct else config.format_credit * found.formatted, found.reason)
