"""Decide from the reward of an answer whether the answer is correct."""

from __future__ import annotations

from collections.abc import Iterable

ROUNDING = 1e-9
"""Tolerance below the threshold, since a weighted sum of rewards is rounded."""


def threshold_of(rewards: Iterable[float | None], correct_at: float | None) -> float | None:
    """Return the smallest reward of a correct answer; None if there is no such threshold.

    The threshold is `correct_at`, or 1 if all rewards are in [0, 1]. Missing rewards are None.
    """
    if correct_at is not None:
        return correct_at
    return 1.0 if all(0 <= reward <= 1 for reward in rewards if reward is not None) else None


def is_right(reward: float | None, threshold: float | None) -> bool | None:
    """Return whether a reward reaches the threshold; None if either of them is None."""
    return None if reward is None or threshold is None else reward >= threshold - ROUNDING
