"""Interval of automatic checkpoints, so long that they cost less than 2 % of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS = 300.0
"""Smallest time between two checkpoints, seconds."""
TIMES_ITS_COST = 50.0
"""Smallest time between two checkpoints, in units of the time that the last one took."""


class CheckpointTimer:
    """Decides when to save: after five minutes, or 50 times the duration of the last save, whichever is
    longer.

    Args:
        clock: a monotonic clock, seconds.
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
        """Measure a save and start the next interval."""
        started = self._clock()
        yield
        self._saved = self._clock()
        self._cost = self._saved - started
