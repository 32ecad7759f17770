"""How often a request is sent, and how long the pauses between are."""

from __future__ import annotations

ATTEMPTS = 8
"""Attempts at a request before this run gives it up."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds between attempts: doubling, with jitter."""


def pause_after(attempt: int, first: float, retry_after: float | None, luck: float) -> float:
    """Seconds before the next attempt, at least what the server asks for. `luck`, from 0 to 1, spreads those
    that failed together."""
    backoff = min(LONGEST_PAUSE, first * 2 ** (attempt - 1))
    return max(retry_after or 0.0, backoff * (0.5 + luck / 2))
