"""Check whether a method that samples can learn from the rollouts of the start model."""

from __future__ import annotations

from dataclasses import dataclass

from boresight.core.wording import percent
from boresight.findings.finding import Finding, error, warning
from boresight.stats.intervals import Interval

FEW = 0.2
"""Minimum share of prompts whose samples have different rewards; with less, most of a rollout has no
gradient."""
NEXT_TO_NONE = 0.1
"""Minimum upper limit of the interval of that share; below it the finding is an error."""


@dataclass(frozen=True, slots=True)
class SampledStart:
    """Rewards of the start model's rollouts.

    `unequal` is the share of prompts whose samples have different rewards, `reward` the mean reward, and
    `per_prompt` the number of samples per prompt.
    """

    unequal: Interval
    reward: float
    per_prompt: int


def rewards_tie(s: SampledStart) -> Finding | None:
    """Return the finding `rewards-tie` if most prompts have samples of equal reward, else None.

    Such samples give no gradient. Fewer than 20 % of the prompts must have samples with different rewards.
    """
    share = s.unequal
    if share.value >= FEW:
        return None
    say = error if share.high < NEXT_TO_NONE else warning
    nothing = "nothing to learn: " if say is error else ""
    return say(
        "rewards-tie",
        f"{nothing.capitalize()}{percent(1 - share.value)} of {share.n} prompts have {s.per_prompt} samples "
        f"of equal reward (unequal: {percent(share.low)} to {percent(share.high)}); the mean reward is "
        f"{s.reward:.2g}.",
        "Start from a model that solves some of the prompts (supervised fine-tuning first), choose prompts "
        "between easy and hopeless, or raise rollout.k or rollout.temperature.",
        numbers=(("unequal", share.value), ("reward", s.reward)),
    )
