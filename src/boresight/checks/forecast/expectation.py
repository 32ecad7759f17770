"""The margin that a budget is expected to yield, and how far such forecasts have missed."""

from __future__ import annotations

from dataclasses import dataclass

RUN_TO_RUN = 2.5
"""Largest factor by which a run has missed the curve of other runs of its model on its pairs: the demo with
LoRA at a sum of 3.2e-3 reached 0.73 nats with one seed, where the other runs average 1.8."""
BORROWED = 16.0
"""Largest factor by which a run has missed curves that were borrowed, of another model on the same pairs:
Qwen2.5-Coder-0.5B on the demo's pairs reached 24 nats, where the curve of the starter gives 1.5. Forecasts of
the measured curves from each other miss by up to 6."""
OTHER_PAIRS = 40.0
"""The same for curves of other pairs: the starter with LoRA on 120 pairs whose chosen answers are short
reached 6.7 nats at a sum of 2.7e-4, where the fastest curve gives 0.18."""
SMALL_MARGIN = 1.0
"""Margin, nats, below which a run is reported as too short: before it from its forecast, after it from its
log."""
LARGEST_MARGIN = 30.0
"""Largest margin of the curves, nats."""


@dataclass(frozen=True)
class Expectation:
    """The expected margin at a budget: its middle, the limits of its range, in nats, and the source of the
    estimate.

    `borrowed`: estimated from runs of another model or method.
    """

    low: float
    middle: float
    high: float
    accuracy: float | None
    source: str
    borrowed: bool = False

    @property
    def basis(self) -> str:
        """`by a ramp …`, or `borrowed from …, not measured with your model on your pairs`."""
        if not self.borrowed:
            return f"by {self.source}"
        return f"borrowed from {self.source}, not measured with your model on your pairs"


@dataclass(frozen=True)
class Elsewhere:
    """The margin that a budget yielded on other pairs, nats: not a forecast. `slowest` and `fastest` are the
    ends of the curves; `declared` is the name of the pairs that `check.like` takes those of the run to be
    like."""

    slowest: float
    fastest: float
    source: str
    declared: str | None = None

    @property
    def missed(self) -> float:
        """The largest factor by which such estimates have missed so far."""
        return OTHER_PAIRS if self.declared is None else BORROWED

    @property
    def ends(self) -> tuple[float, float]:
        """The range widened by `missed`, nats."""
        return self.slowest / self.missed, self.fastest * self.missed

    @property
    def bought(self) -> str:
        """The range as text, such as `0.017 to 0.21 nats`."""
        ends = dict.fromkeys(f"{end:.2g}" for end in (self.slowest, self.fastest))
        return f"{' to '.join(ends)} nats"

    @property
    def pairs(self) -> str:
        """The pairs as text: `other pairs`, or `demo, which check.like declares your pairs to be like`."""
        if self.declared is None:
            return "other pairs"
        return f"{self.declared}, which check.like declares your pairs to be like,"
