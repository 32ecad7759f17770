"""Reward functions: Python functions that score completions in batches, found by name.

    def reward(prompts, completions, rows) -> list[float | None]

`prompts` (conversations: lists of messages with `role` and `content`), `completions` (text) and `rows`
(each prompt's other columns, such as numbers and target) have one entry per completion. None or NaN declines
to judge a completion. A function is named by its import path, `package.module:function`, or is one of
`BUILTIN`. A `UserError` from a function reports data that lack what it needs; it stops the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.plugins import import_user_module
from boresight.core.schema import Prompt
from boresight.scorers.judges.base import DECLINED, Score, Scorer

RewardCallable = Callable[[Sequence[Any], Sequence[str], Sequence[Mapping[str, Any]]], Sequence[float | None]]

BUILTIN = {
    "countdown": "boresight.tasks.countdown.rewards:plain",
    "countdown_correct": "boresight.tasks.countdown.rewards:correct",
    "countdown_shaped": "boresight.tasks.countdown.rewards:shaped",
    "countdown_compat": "boresight.tasks.countdown.rewards:compat",
}


class RewardFunction(Scorer):
    """A reward function as a scorer. An answer on which it raises has no score; the others keep theirs."""

    def __init__(self, path: str, name: str | None = None) -> None:
        """Load the function at `path`, a built-in name or an import path. Raises `UserError` if not found."""
        super().__init__()
        self.path, self.name, self.function = path, name or path, load_reward(path)

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str], repeat: int = 0) -> list[Score]:
        """The whole batch in one call. If that raises, one call per answer finds those that cannot be scored.

        Raises:
            UserError: the function returned another number of rewards than there are answers, or raised one.
        """
        try:
            return self._scores(prompts, answers)
        except UserError:
            raise
        except Exception:
            return [self._alone(prompt, text) for prompt, text in zip(prompts, answers, strict=True)]

    def _alone(self, prompt: Prompt, answer: str) -> Score:
        try:
            return self._scores([prompt], [answer])[0]
        except Exception as error:
            return _failed(error)

    def _scores(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Score]:
        rewards = list(self.function([p.prompt for p in prompts], answers, [p.meta for p in prompts]))
        if len(rewards) != len(answers):
            raise UserError(
                f"reward {self.path}: returned {len(rewards)} rewards for {len(answers)} completions; "
                "return one for each."
            )
        return [_score(reward) for reward in rewards]


def _score(reward: float | None) -> Score:
    """None and NaN decline to judge; anything else that is not a finite number is a failure."""
    try:
        number = math.nan if reward is None else float(reward)
        if math.isinf(number) or isinstance(reward, str):
            raise ValueError(f"the reward is {reward!r}, not a finite number")
    except (TypeError, ValueError) as error:
        return _failed(error)
    return DECLINED if math.isnan(number) else Score(number)


def _failed(error: Exception) -> Score:
    return Score(None, failure=f"{type(error).__name__}: {error}")


def load_reward(name: str) -> RewardCallable:
    """The function called `name`: a built-in, or found by its import path.

    Raises:
        UserError: no such built-in, module or function; the message says which.
    """
    path = name if ":" in name else BUILTIN.get(name)
    if path is None:
        raise UserError(
            f"reward.function: {name!r} is not built in, and not written as package.module:function"
            f"{nearest(name, BUILTIN)}."
        )
    module_name, _, attribute = path.partition(":")
    module = import_user_module(module_name, "reward.function")
    function = getattr(module, attribute, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserError(
            f"reward.function: {module_name} has no function {attribute!r}{nearest(attribute, known)}."
        )
    return function
