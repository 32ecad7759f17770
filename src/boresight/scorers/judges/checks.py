"""Judge that calls a function: a check that an answer passes or fails, or any reward function."""

from __future__ import annotations

from functools import partial
from typing import Any

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.scorers.judges.base import JudgeConfig, Score, Scorer, Verifier
from boresight.scorers.reward_function import BUILTIN, RewardFunction
from boresight.tasks.constraints.evaluation import LABELS, check_answer, checkable


class Config(JudgeConfig):
    """Settings of the judge: the check or reward function, and its options."""

    check: str = "good_answer"
    """A check of prompts that carry a constraint, such as `constraint_met` or `good_answer`; or a reward
    function, built in or by its import path `package.module:function`."""
    options: dict[str, Any] = {}
    """Arguments of the reward function by name."""


def build(config: Config, completer: object = None, console: object = None) -> Scorer:
    """Build the judge from the name of a check or a reward function.

    Raises:
        UserError: there is no function of that name, or it does not take these options.
    """
    name = f"check {config.check}"
    if ":" in config.check or config.check in BUILTIN:
        return RewardFunction(config.check, name, config.options)
    if config.check not in LABELS:
        known = nearest(config.check, [*LABELS, *BUILTIN])
        raise UserError(f"judge.check: there is no check {config.check!r}{known}.")
    if config.options:
        raise UserError(f"judge.options: the check {config.check} has none; remove them.")
    return Verifier(name, partial(_meets, config.check))


def _meets(check: str, prompt: Prompt, answer: str) -> Score:
    """Return the score 1 for an answer that passes the check, else 0; a failure without a constraint."""
    if not checkable(prompt.meta):
        return Score(None, failure="the prompt carries no constraint")
    return Score(float(check_answer(prompt.meta, answer)[check]))
