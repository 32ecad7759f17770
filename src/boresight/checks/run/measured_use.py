"""Time and memory of a planned run, scaled from those of a short probe of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeasuredUse:
    """Time of all training steps, s, None where unknown, and peak memory, GB, of a planned run.

    Evaluations and, for methods with a reference, its one pass over the data come on top of the time.
    """

    seconds: float | None
    memory_gb: float
    source: str
