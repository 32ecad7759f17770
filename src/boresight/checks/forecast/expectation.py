"""Represent the expected margin of a run, and the errors of such forecasts so far."""

from __future__ import annotations

from dataclasses import dataclass

RUN_TO_RUN = 2.5
"""Largest observed factor between the margin of a run and the curve of other runs of its model on its pairs.

The demo with LoRA at a sum of 3.2e-3 reached 0.73 nats with one seed, where the other runs average 1.8.
"""
BORROWED = 16.0
"""Largest observed factor between the margin of a run and a borrowed curve, of another model on the same
pairs.

Qwen2.5-Coder-0.5B on the demo's pairs reached 24 nats, where the curve of the starter gives 1.5. The measured
curves differ from each other by a factor of up to 6.
"""
OTHER_PAIRS = 40.0
"""Largest observed factor between the margin of a run and a curve on other pairs.

The starter with LoRA on 120 pairs with short chosen answers reached 6.7 nats at a sum of 2.7e-4, where the
steepest curve gives 0.18.
"""
SMALL_MARGIN = 1.0
"""Margin in nats below which a run is reported as too short: by its forecast before training, and by its log
afterwards."""
LARGEST_MARGIN = 30.0
"""Maximum margin that a curve returns, in nats."""


@dataclass(frozen=True)
class Expectation:
    """The expected margin of a run and its range.

    `low`, `middle` and `high` are margins in nats, `accuracy` is the expected held-out accuracy, and `source`
    describes the runs that the estimate is made from. `borrowed`: they used another model or method.
    """

    low: float
    middle: float
    high: float
    accuracy: float | None
    source: str
    borrowed: bool = False

    @property
    def basis(self) -> str:
        """Basis of the estimate as text: `by a ramp …`, or `borrowed from …, not measured with your model
        …`."""
        if not self.borrowed:
            return f"by {self.source}"
        return f"borrowed from {self.source}, not measured with your model on your pairs"


@dataclass(frozen=True)
class Elsewhere:
    """The range of margins that a budget yielded on other pairs, in nats; it is not a forecast.

    `slowest` and `fastest` are the smallest and the largest margin of the curves. `declared` is the name of
    the pairs that the run's pairs resemble according to `check.like`; None if it is not set.
    """

    slowest: float
    fastest: float
    source: str
    declared: str | None = None

    @property
    def missed(self) -> float:
        """Largest factor by which such estimates have been wrong so far."""
        return OTHER_PAIRS if self.declared is None else BORROWED

    @property
    def ends(self) -> tuple[float, float]:
        """The range widened by `missed`, nats."""
        return self.slowest / self.missed, self.fastest * self.missed

    @property
    def at_most(self) -> str:
        """The upper end of the range as text, such as `0.21 nats`."""
        return f"{self.fastest:.2g} nats"

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
