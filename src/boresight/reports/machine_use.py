"""Time and memory of a run, as logged and as forecast by its learning-rate ramp."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from boresight.reports.read_run import RunData


@dataclass(frozen=True, slots=True)
class MachineUse:
    """Time of all training steps, s, and peak memory, GB: as logged, and as forecast by the ramp; None
    where unknown."""

    seconds: float | None
    memory_gb: float | None
    seconds_by_ramp: float | None
    memory_by_ramp_gb: float | None

    @classmethod
    def of(cls, run: RunData) -> MachineUse:
        """Read time and memory from the log of a run.

        The forecast time is that of the logged tokens at the ramp's throughput.
        """
        steps = [
            (s, t) for s, t in zip(_logged(run, "seconds"), _logged(run, "tokens_per_second"), strict=True)
        ]
        timed = [
            (seconds, pace) for seconds, pace in steps if not math.isnan(seconds) and not math.isnan(pace)
        ]
        memory = [gb for gb in _logged(run, "peak_memory_gb") if not math.isnan(gb)]
        ramp, tokens = run.ramp, sum(seconds * pace for seconds, pace in timed)
        pace = ramp.tokens_per_second if ramp else None
        return cls(
            seconds=sum(seconds for seconds, _ in timed) if timed else None,
            memory_gb=max(memory, default=None),
            seconds_by_ramp=tokens / pace if timed and pace else None,
            memory_by_ramp_gb=ramp.peak_memory_gb if ramp else None,
        )


def _logged(run: RunData, name: str) -> Iterator[float]:
    """Yield a number of every logged training step; NaN where the step does not have it."""
    for line in run.train:
        value = line.get(name)
        yield float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
