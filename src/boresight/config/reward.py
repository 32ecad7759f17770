"""Settings of one reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from boresight.config.section import Section


class RewardConfig(Section):
    """One reward, a function or a judge, and its weight."""

    function: str | None = None
    """A built-in name, such as `countdown`, or an import path `package.module:function`."""
    options: dict[str, Any] = {}
    """Arguments of the function by name: `{tags: [think, answer]}`. Settings of a judge belong in `judge`."""
    judge: dict[str, Any] | None = None
    """A judge that scores answers one by one, as of evaluations: `{name: reward_model, model: runs/rm}`."""
    weight: float = 1.0
    """The total is the weighted sum over functions and judges. A reward of weight 0 is measured and logged
    only."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.function is None) == (self.judge is None):
            raise ValueError("set exactly one of `function` and `judge`")
        if self.options and self.function is None:
            raise ValueError("options are for a function; write a judge's settings beside its name")
        return self

    @property
    def name(self) -> str:
        """Name of the function or, without one, of the judge."""
        return self.function or str((self.judge or {})["name"])


def as_reward_list(value: object) -> list[Any]:
    """Convert a value of `reward` to a list of mappings.

    A value that is no list becomes a list of one item, and a text the reward function of this name. Wrong
    items are unchanged; the validation of the section refuses them.
    """
    given = value if isinstance(value, list) else [value]
    return [{"function": one} if isinstance(one, str) else one for one in given]


RewardList = Annotated[list[RewardConfig], BeforeValidator(as_reward_list)]
"""Rewards of a recipe: a list, or one alone; a name stands for its function."""


def short_names(functions: Sequence[str]) -> list[str]:
    """Names of reward functions in the log: without their module, unless two would share one.

    >>> short_names(["countdown", "mine:score", "checks:length", "other:length"])
    ['countdown', 'score', 'checks:length', 'other:length']
    """
    last = [name.rsplit(":", 1)[-1] for name in functions]
    taken = {"failures", *functions}
    return [
        short if last.count(short) == 1 and (short == name or short not in taken) else name
        for name, short in zip(functions, last, strict=True)
    ]


def penalty_names(rewards: Sequence[RewardConfig]) -> frozenset[str]:
    """Names in the log of the rewards with a negative weight."""
    names = short_names([reward.name for reward in rewards])
    return frozenset(f"reward_{name}" for name, one in zip(names, rewards, strict=True) if one.weight < 0)
