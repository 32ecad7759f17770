"""From a reward to right or wrong."""

from __future__ import annotations

from collections.abc import Iterable

ROUNDING = 1e-9
"""How far below the threshold a weighted sum may lie and still reach it."""


def threshold_of(rewards: Iterable[float | None], correct_at: float | None) -> float | None:
    """The smallest reward of a right answer: as asked, or 1 where every reward lies in [0, 1], or None.

    Rewards that are None are missing.
    """
    if correct_at is not None:
        return correct_at
    return 1.0 if all(0 <= reward <= 1 for reward in rewards if reward is not None) else None


def is_right(reward: float | None, threshold: float | None) -> bool | None:
    """Whether a reward is that of a right answer; None where it is missing or no answer is right or wrong."""
    return None if reward is None or threshold is None else reward >= threshold - ROUNDING
