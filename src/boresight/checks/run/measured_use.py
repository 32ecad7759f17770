"""Represent the time and memory of a planned run, scaled from those of a short probe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeasuredUse:
    """Time and memory of a planned run.

    `seconds` is the time of all training steps, None where unknown; `memory_gb` is the peak memory in GB. The
    time does not include evaluations nor, for methods with a reference, its one pass over the data.
    """

    seconds: float | None
    memory_gb: float
    source: str
