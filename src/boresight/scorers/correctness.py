"""Decide from a reward whether an answer is right."""

from __future__ import annotations

from collections.abc import Iterable

ROUNDING = 1e-9
"""Tolerance below the threshold, for the rounding of a weighted sum."""


def threshold_of(rewards: Iterable[float | None], correct_at: float | None) -> float | None:
    """The smallest reward of a right answer: `correct_at`, or 1 if every reward is in [0, 1], or None.

    Missing rewards are None.
    """
    if correct_at is not None:
        return correct_at
    return 1.0 if all(0 <= reward <= 1 for reward in rewards if reward is not None) else None


def is_right(reward: float | None, threshold: float | None) -> bool | None:
    """Whether a reward is that of a right answer; None where it is missing or no answer is right or wrong."""
    return None if reward is None or threshold is None else reward >= threshold - ROUNDING
