"""Choose the interval of automatic checkpoints, such that they take less than 2 % of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS = 300.0
"""Minimum time between two checkpoints, in seconds."""
TIMES_ITS_COST = 50.0
"""Minimum time between two checkpoints, as a multiple of the time that writing the last one took."""


class CheckpointTimer:
    """Decides when to save: after five minutes, or 50 times the duration of the last save if that is longer.

    Args:
        clock: monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._saved, self._cost = clock(), 0.0

    @property
    def interval(self) -> float:
        """Seconds from the last checkpoint to the next."""
        return max(SECONDS, TIMES_ITS_COST * self._cost)

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return self._clock() - self._saved >= self.interval

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Context manager that measures the save in its block, and then starts the next interval."""
        started = self._clock()
        yield
        self._saved = self._clock()
        self._cost = self._saved - started
