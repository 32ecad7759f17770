"""Reward functions: Python functions that score completions in batches, found by name.

    def reward(prompts, completions, rows) -> list[float | None]

The arguments have one entry per completion: `prompts` are conversations (lists of messages with `role` and
`content`), `completions` are texts, and `rows` are the other columns of each prompt, such as numbers and
target. A reward of None or NaN is missing.

The name of a function is its import path, `package.module:function`, or one of `BUILTIN`. If data lack what a
function needs, it raises a `UserError`, which stops the run. Functions that were written for TRL are called
as TRL calls them (`conventions`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.plugins import import_user_module
from boresight.core.schema import Prompt
from boresight.scorers.conventions import RewardBatch, RewardCallable, bind_reward
from boresight.scorers.judges.base import DECLINED, Score, Scorer

BUILTIN = {
    "countdown": "boresight.tasks.countdown.rewards:plain",
    "countdown_correct": "boresight.tasks.countdown.rewards:correct",
    "countdown_shaped": "boresight.tasks.countdown.rewards:shaped",
    "countdown_compat": "boresight.tasks.countdown.rewards:compat",
    "constraints": "boresight.tasks.constraints.rewards:meets_constraint",
    "contains": "boresight.tasks.text.matching:contains_answer",
    "exact": "boresight.tasks.text.matching:exact_match",
    "format": "boresight.tasks.text.form:has_form",
    "ifeval": "boresight.tasks.ifeval.rewards:all_strict",
    "ifeval_loose": "boresight.tasks.ifeval.rewards:all_loose",
    "ifeval_share": "boresight.tasks.ifeval.rewards:share_strict",
    "ifeval_share_loose": "boresight.tasks.ifeval.rewards:share_loose",
    "length": "boresight.tasks.text.length:length_score",
    "math": "boresight.tasks.math.rewards:solves_math",
    "whole_answer": "boresight.tasks.constraints.rewards:whole_answer",
}

SHORT_ANSWER = "It is 1."
"""Answer that built-in functions score to check that a row has the columns they need."""


class RewardFunction(Scorer):
    """Reward function as a scorer.

    If the function raises on an answer, that answer has no score; the other answers keep theirs.
    """

    def __init__(self, path: str, name: str | None = None, options: Mapping[str, Any] | None = None) -> None:
        """Load the function at `path`, a built-in name or an import path.

        Raises:
            UserError: the function is not found, its signature fits no convention, or it does not take one of
                `options`.
        """
        super().__init__()
        self.path, self.name = path, name or path
        self.reward = bind_reward(load_reward(path), path, options or {})

    def score(
        self,
        prompts: Sequence[Prompt],
        answers: Sequence[str],
        repeat: int = 0,
        ids: Sequence[Sequence[int]] | None = None,
    ) -> list[Score]:
        """Score the whole batch in one call.

        If the call raises, the function is called once per answer, to find those that cannot be scored.

        Args:
            prompts: the prompt of each answer.
            answers: the answers.
            repeat: not used.
            ids: token ids of each answer, for a function with a parameter `completion_ids`.

        Raises:
            UserError: the number of rewards differs from the number of answers, or the function raised a
                `UserError`.
        """
        batch = RewardBatch(prompts, answers, ids)
        try:
            return self._scores(batch)
        except UserError:
            raise
        except (Exception, SystemExit):  # `sys.exit` in a function must not end the run without an error
            return [self._alone(batch.only(i)) for i in range(len(answers))]

    def refuse_lacking(self, prompts: Sequence[Prompt]) -> None:
        """Raise a `UserError` if rows lack what the function needs.

        A built-in function is called with a short answer to every prompt. For another function, each column
        that its signature requires must occur in at least one row.
        """
        if lacking := self.reward.lacking(prompts):
            near = nearest(lacking[0], {key for prompt in prompts for key in prompt.meta})
            raise UserError(f"reward {self.path}: asks for the column {lacking[0]}, which no row has{near}.")
        for prompt in prompts if self.path in BUILTIN else ():
            try:
                self._scores(RewardBatch([prompt], [SHORT_ANSWER]))
            except UserError as error:
                raise UserError(f"row {prompt.id}: {error}") from None
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                raise UserError(f"row {prompt.id}: reward {self.path} fails on it ({why}).") from None

    def _alone(self, batch: RewardBatch) -> Score:
        try:
            return self._scores(batch)[0]
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            return _failed(error)

    def _scores(self, batch: RewardBatch) -> list[Score]:
        rewards = self.reward(batch)
        if len(rewards) != len(batch.completions):
            raise UserError(
                f"reward {self.path}: returned {len(rewards)} rewards for "
                f"{len(batch.completions)} completions; return one for each."
            )
        return [_score(reward) for reward in rewards]


def _score(reward: float | None) -> Score:
    """Convert a reward to a score.

    None and NaN mean that the function declined to judge; any other value that is not a finite number is a
    failure.
    """
    try:
        number = math.nan if reward is None else float(reward)
        if math.isinf(number) or isinstance(reward, str | bytes | complex):
            raise ValueError(f"the reward is {reward!r}, not a finite number")
    except Exception as error:  # the conversion may raise any error, as for a tensor with several elements
        return _failed(error)
    return DECLINED if math.isnan(number) else Score(number)


def _failed(error: BaseException) -> Score:
    return Score(None, failure=f"{type(error).__name__}: {error}")


def load_reward(name: str) -> RewardCallable:
    """Return the function called `name`, which is built in or found by its import path.

    Raises:
        UserError: there is no such built-in function, module or attribute; the message contains the name.
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
