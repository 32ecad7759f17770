"""Format the status line of training, in 80 columns.

    step 17/833  margin 0.021  accuracy 0.500  412 tokens/s  ETA 1 h 54 min

The method names its metrics by importance (`MethodConfig.status_metrics`); the first two of them that a step
has are shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from boresight.core.wording import format_duration

SHOWN = 2
"""Maximum number of metrics on a line."""


class StatusLine:
    """Progress, metrics, throughput and estimated remaining time, as one line per step.

    The remaining time is estimated from the steps since the process started, including the evaluations and
    checkpoints between them.
    """

    def __init__(
        self, metrics: Sequence[str], steps: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics, self._steps, self._clock = metrics, steps, clock
        self._first: int | None = None
        self._started = 0.0

    def line(self, step: int, numbers: Mapping[str, float]) -> str:
        """Return the line of training step `step`, counted from 1; call it exactly once per step."""
        if self._first is None:
            self._first, self._started = step, self._clock() - numbers.get("seconds", 0.0)
        parts = [f"step {step}/{self._steps}", *self._named(numbers)]
        if "tokens_per_second" in numbers:
            parts.append(f"{format_rate(numbers['tokens_per_second'])} tokens/s")
        else:
            parts.append("no update")
        if step < self._steps:
            each = (self._clock() - self._started) / (step - self._first + 1)
            parts.append(f"ETA {format_duration(each * (self._steps - step))}")
        return "  ".join(parts)

    def evaluation(self, step: int, numbers: Mapping[str, float]) -> str:
        """Return the line of an evaluation, which includes the loss."""
        loss = [f"loss {format_metric(numbers['loss'])}"] if "loss" in numbers else []
        named = [part for part in self._named(numbers) if part not in loss]
        return f"  evaluation after step {step}: {'  '.join(loss + named)}"

    def _named(self, numbers: Mapping[str, float]) -> list[str]:
        known = [name for name in self._metrics if name in numbers][:SHOWN]
        return [f"{name} {format_metric(numbers[name])}" for name in known]


def format_metric(x: float) -> str:
    """Format a number with four digits, such as 0.693, -12.34, 123.4 or 1234; from 10,000 on as 1.2e+04."""
    size = abs(x)
    if size < 9.9995:
        return f"{x:.3f}"
    if size < 99.995:
        return f"{x:.2f}"
    if size < 999.95:
        return f"{x:.1f}"
    return f"{x:.0f}" if size < 9_999.5 else f"{x:.1e}"


def format_rate(x: float) -> str:
    """Format a number with three digits, such as 4.12, 412, 41.2k or 412k."""
    if x >= 9_995:
        return f"{format_rate(x / 1_000)}k"
    return f"{x:,.0f}" if x >= 99.95 else f"{x:.1f}" if x >= 9.995 else f"{x:.2f}"
