"""The reward of a run: a weighted sum over scorers, which are reward functions and judges.

A completion without a score is missing (NaN), never zero. With several scorers, its total is missing if any
score with a weight is missing, since a partial sum is not comparable with the full sums of the other
completions. A scorer of weight 0 is logged and does not affect the total.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from boresight.config.reward import RewardConfig
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.scorers.judges.base import Scorer
from boresight.scorers.reward_function import BUILTIN, RewardFunction


@dataclass(frozen=True, slots=True)
class Failure:
    """A completion that a scorer failed on.

    `function` is the name of the scorer, and `index` the index of the completion in the batch.
    """

    function: str
    index: int
    completion: str
    error: str


@dataclass(frozen=True, slots=True)
class Rewards:
    """Rewards of a batch. Lists have one entry per completion; NaN means missing.

    `total` contains the weighted sums, and `by_function` the unweighted rewards of each scorer. `failures`
    are errors; a completion that a scorer declined to judge is missing too, but is not a failure.
    """

    total: list[float]
    by_function: dict[str, list[float]]
    failures: list[Failure]

    @property
    def missing(self) -> int:
        """Number of completions without a total reward."""
        return sum(map(math.isnan, self.total))


class RewardSum:
    """The weighted sum of a run's rewards, with all functions and judges loaded."""

    def __init__(self, configs: Sequence[RewardConfig]) -> None:
        """Load every function and judge.

        Raises:
            UserError: there are no rewards, one is named twice, or one cannot be found.
        """
        check_rewards(configs)
        names = [config.name for config in configs]
        if not names:
            raise UserError("reward: no function is given; name one, for instance `countdown`.")
        if len(set(names)) < len(names):
            raise UserError("reward: a function is named twice; give each once, with one weight.")
        self.scorers = {config.name: _scorer(config) for config in configs}
        self.weights = {config.name: config.weight for config in configs}

    @property
    def of_user(self) -> bool:
        """Whether at least one reward is not a built-in function."""
        return any(
            not isinstance(scorer, RewardFunction) or scorer.path not in BUILTIN
            for scorer in self.scorers.values()
        )

    def refuse_lacking(self, prompts: Sequence[Prompt]) -> None:
        """Raise a `UserError` for the first row that lacks what a function needs, such as a gold answer."""
        for scorer in self.scorers.values():
            if isinstance(scorer, RewardFunction):
                scorer.refuse_lacking(prompts)

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[str],
        ids: Sequence[Sequence[int]] | None = None,
    ) -> Rewards:
        """Score completions; `completions[i]` answers `prompts[i]`, and `ids[i]` are its token ids, if known.

        Raises:
            UserError: the number of rewards of a function differs from the number of completions.
        """
        if len(prompts) != len(completions):
            raise ValueError(f"got {len(prompts)} prompts and {len(completions)} completions")
        by_function: dict[str, list[float]] = {}
        failures: list[Failure] = []
        for name, scorer in self.scorers.items():
            found = (
                scorer.score(prompts, completions, ids=ids)
                if isinstance(scorer, RewardFunction)
                else scorer.score(prompts, completions)
            )
            scores = [score.checked() for score in found]
            by_function[name] = [math.nan if s.value is None else s.value for s in scores]
            failures += [
                Failure(name, i, completions[i], s.failure)
                for i, s in enumerate(scores)
                if s.value is None and not s.declined
            ]
        total = [
            sum(weight * by_function[name][i] for name, weight in self.weights.items() if weight)
            for i in range(len(completions))
        ]
        return Rewards(total, by_function, failures)


def check_rewards(configs: Sequence[RewardConfig]) -> None:
    """Check the weights, the settings of judges and the options of built-in functions; loads no model.

    Raises:
        UserError: one of them is invalid.
    """
    if configs and not any(config.weight for config in configs):
        raise UserError("reward: every weight is 0, so no answer earns anything; give one a weight above 0.")
    for config in configs:
        if config.judge is not None:
            from boresight.scorers.judge_reward import judge_settings

            judge_settings(config.judge)
        elif config.name in BUILTIN:
            _scorer(config)


def _scorer(config: RewardConfig) -> Scorer:
    if config.judge is None:
        return RewardFunction(config.name, options=config.options)
    from boresight.scorers.judge_reward import judge_reward

    return judge_reward(config.judge)
