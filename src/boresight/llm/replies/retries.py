"""Set how often a request is sent, and how long the pauses between attempts are."""

from __future__ import annotations

ATTEMPTS = 8
"""Maximum number of attempts at a request before this run gives it up."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""First and maximum pause between attempts, in seconds; pauses double, with jitter."""


def pause_after(attempt: int, first: float, retry_after: float | None, luck: float) -> float:
    """Return the number of seconds to wait before the next attempt, at least `retry_after`.

    Args:
        attempt: number of the attempt that failed, from 1.
        first: pause after the first attempt, in seconds.
        retry_after: pause that the server requests, in seconds.
        luck: random number from 0 to 1 for the jitter, which spreads requests that failed together.
    """
    backoff = min(LONGEST_PAUSE, first * 2 ** (attempt - 1))
    return max(retry_after or 0.0, backoff * (0.5 + luck / 2))
