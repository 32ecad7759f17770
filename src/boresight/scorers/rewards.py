"""Rewards: Python functions that judge completions in batches, found by name.

    def reward(prompts, completions, rows) -> list[float | None]

`prompts` (conversations: lists of messages with `role` and `content`), `completions` (text) and `rows`
(each prompt's own data, such as numbers and target) have one entry per completion. None or NaN says that a
completion cannot be judged. The function is named by its import path, `package.module:function`, or it is
one of `BUILTIN`. In place of a function stands a judge that scores answers one by one: a reward model, say.

A completion is missing (NaN), never zero, when a function raises on it or cannot judge it. With several
functions it is missing when it is missing for any, since a partial sum does not compare with its siblings'
whole ones. A `UserError` from a function says that the data lack what it needs; it stops the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from boresight.config.reward import RewardConfig
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.plugins import import_user_module
from boresight.scorers.failure import Failure

Rows = Sequence[Mapping[str, Any]]
Reward = Callable[[Sequence[Any], Sequence[str], Rows], Sequence[float | None]]

BUILTIN = {
    "countdown": "boresight.tasks.countdown.rewards:plain",
    "countdown_correct": "boresight.tasks.countdown.rewards:correct",
    "countdown_shaped": "boresight.tasks.countdown.rewards:shaped",
    "countdown_compat": "boresight.tasks.countdown.rewards:compat",
}


def check_rewards(configs: Sequence[RewardConfig]) -> None:
    """Check the settings of judges among the rewards, without loading one. Raises `UserError`."""
    for config in configs:
        if config.judge is not None:
            from boresight.scorers.judge_reward import settings_of

            settings_of(config.judge)


@dataclass(frozen=True, slots=True)
class Rewards:
    """What a batch earned. Lists have one entry per completion; NaN is missing.

    `total` is the weighted sum, `by_function` the unweighted parts. `failures` are errors; completions that
    a function declined to judge (None or NaN) are in `missing` too, but are no failures.
    """

    total: list[float]
    by_function: dict[str, list[float]]
    failures: list[Failure]

    @property
    def missing(self) -> int:
        """Completions without a total reward."""
        return sum(map(math.isnan, self.total))

    @property
    def missing_by_function(self) -> dict[str, int]:
        """The same for each function."""
        return {name: sum(map(math.isnan, values)) for name, values in self.by_function.items()}


class Judge:
    """The reward functions of a run, loaded and ready to judge batches."""

    def __init__(self, configs: Sequence[RewardConfig]):
        """Load every function.

        Raises:
            UserError: no functions, one named twice, or one that cannot be found.
        """
        check_rewards(configs)
        names = [config.name for config in configs]
        if not names:
            raise UserError("reward: no function is given; name one, for instance `countdown`.")
        if len(set(names)) < len(names):
            raise UserError("reward: a function is named twice; give each once, with one weight.")
        self.parts = {config.name: _part(config) for config in configs}
        self.weights = {config.name: config.weight for config in configs}

    def __call__(self, prompts: Sequence[Any], completions: Sequence[str], rows: Rows) -> Rewards:
        """Judge completions; the three sequences have one entry per completion.

        Raises:
            UserError: a function returned another number of rewards than there are completions.
        """
        if not len(prompts) == len(completions) == len(rows):
            raise ValueError(f"got {len(prompts)} prompts, {len(completions)} completions, {len(rows)} rows")
        by_function: dict[str, list[float]] = {}
        failures: list[Failure] = []
        for name, part in self.parts.items():
            by_function[name], failed = part(prompts, completions, rows)
            failures += failed
        total = [
            sum(self.weights[name] * values[i] for name, values in by_function.items())
            for i in range(len(completions))
        ]
        return Rewards(total, by_function, failures)


Part = Callable[[Sequence[Any], Sequence[str], Rows], tuple[list[float], list[Failure]]]
"""Prompts, completions and rows to rewards, NaN where missing, and what failed."""


def _part(config: RewardConfig) -> Part:
    if config.judge is not None:
        from boresight.scorers.judge_reward import JudgeReward

        return JudgeReward(config.judge)
    return partial(_judge, config.name, load_reward(config.name))


def load_reward(name: str) -> Reward:
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


def _judge(
    name: str,
    function: Reward,
    prompts: Sequence[Any],
    completions: Sequence[str],
    rows: Rows,
) -> tuple[list[float], list[Failure]]:
    """One function's rewards. If the batch raises, each completion is judged alone to find the culprits."""
    try:
        return _checked(name, function(prompts, completions, rows), completions)
    except UserError:
        raise
    except Exception:
        values: list[float] = []
        failures: list[Failure] = []
        for i, (prompt, completion, row) in enumerate(zip(prompts, completions, rows, strict=True)):
            try:
                value, failed = _checked(name, function([prompt], [completion], [row]), [completion], first=i)
            except Exception as error:
                value, failed = [math.nan], [_failure(name, i, completion, error)]
            values += value
            failures += failed
        return values, failures


def _checked(
    name: str, returned: Sequence[float | None], completions: Sequence[str], first: int = 0
) -> tuple[list[float], list[Failure]]:
    """Rewards as floats, NaN where missing; anything that is not a finite number is a failure."""
    returned = list(returned)
    if len(returned) != len(completions):
        raise UserError(
            f"reward {name}: returned {len(returned)} rewards for {len(completions)} completions; "
            "return one for each."
        )
    values: list[float] = []
    failures: list[Failure] = []
    for i, (value, completion) in enumerate(zip(returned, completions, strict=True), start=first):
        try:
            number = math.nan if value is None else float(value)
            if math.isinf(number) or isinstance(value, str):
                raise ValueError(f"the reward is {value!r}, not a finite number")
        except (TypeError, ValueError) as error:
            number = math.nan
            failures.append(_failure(name, i, completion, error))
        values.append(number)
    return values, failures


def _failure(name: str, index: int, completion: str, error: Exception) -> Failure:
    return Failure(name, index, completion, f"{type(error).__name__}: {error}")
