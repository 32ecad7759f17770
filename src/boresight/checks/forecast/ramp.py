"""Forecast a run from a learning-rate ramp: its gain, and the largest budget that does no harm.

A ramp measures the gain on pairs that it does not train on, as a function of the sum of learning rates (the
budget). Within the range of measured budgets the gain of a run is interpolated on that curve; above it the
curve is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import median
from typing import Any

from scipy.optimize import isotonic_regression

from boresight.checks.forecast.answer_distance import AnswerDistance
from boresight.checks.forecast.expectation import Expectation
from boresight.checks.forecast.row_mean import RowMean

NORMAL = 1.96
"""Half-width of a 95 % interval in standard errors."""
LARGEST_KL = 0.05
"""Maximum KL to the start model that counts as harmless, nats per token."""
LARGEST_FALL = 0.05
"""Maximum decrease of the log-probability of chosen answers that counts as harmless, nats per token."""
WITHIN = 1.35
"""Largest factor between the gain of a ramp and that of a run with the same sum of learning rates, as
measured in docs/check.md."""
BEYOND = 0.5
"""Exponent by which the range widens beyond the ramp, by the factor (budget / end of the ramp)^`BEYOND`."""
STEEPEST, FLATTEST = 1.0, 0.25
"""Maximum and minimum slope of the extrapolation beyond a ramp, in the logarithms of budget and gain."""
FARTHEST = 10.0
"""Maximum budget at which `Ramp.budget` searches for a gain, in multiples of the end of the ramp."""


@dataclass(frozen=True, slots=True)
class RampPoint:
    """One measurement of a ramp, after a step.

    `rate` is the learning rate of the step, and `budget` the sum of learning rates up to it. `gain`, `loss`,
    `accuracy` and the numbers per token are measured on held-out rows. `gain` is the increase of the margin
    since the start in nats, or for demonstrations the decrease of the negative log-likelihood in nats per
    token. `chosen_per_token` and `rejected_per_token` are changes of log-probabilities since the start, and
    `kl_per_token` is the KL to the start model, in nats per token.
    """

    rate: float
    budget: float
    gain: RowMean
    loss: float
    accuracy: RowMean | None
    chosen_per_token: RowMean | None
    rejected_per_token: RowMean | None
    kl_per_token: RowMean | None
    grad_norm: float
    seconds: float
    peak_memory_gb: float
    tokens: float | None = None
    """Number of tokens of the step's rows; None if the ramp does not record them."""


@dataclass(frozen=True)
class Ramp:
    """A learning-rate ramp: measurements at growing sums of learning rates.

    Args:
        start: measurement before the first step.
        points: measurements after steps.
        batch: rows per step.
        answers: likelihood of the pairs' answers compared with the start model's own samples; None for other
            data.
    """

    start: RampPoint
    points: tuple[RampPoint, ...]
    batch: int
    answers: AnswerDistance | None = None

    def as_dict(self) -> dict[str, Any]:
        """The ramp as a dictionary, as in `ramp.json` of a run."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Ramp:
        """Build from the dictionary of `as_dict`.

        Raises:
            KeyError, IndexError, TypeError, ValueError: the dictionary is not that of a ramp.
        """
        start, *points = (_point(raw) for raw in (kept["start"], kept["points"][0], *kept["points"][1:]))
        if points[0].budget <= 0:
            raise ValueError("a step that spends nothing")
        answers = AnswerDistance.from_dict(kept["answers"]) if kept["answers"] else None
        return cls(start, tuple(points), kept["batch"], answers)

    @property
    def tokens_per_second(self) -> float | None:
        """Median throughput of the steps, tokens per second; None if the ramp does not record tokens."""
        paces = [point.tokens / point.seconds for point in self.points if point.tokens and point.seconds > 0]
        return median(paces) if paces else None

    @property
    def step_tokens(self) -> float | None:
        """Number of tokens of the largest measured step; None if the ramp does not record them."""
        return max((point.tokens for point in self.points if point.tokens), default=None)

    @property
    def peak_memory_gb(self) -> float:
        """Peak memory of the process over the whole ramp, GB."""
        return max(point.peak_memory_gb for point in self.points)

    @property
    def end(self) -> float:
        """Largest sum of learning rates that the ramp measured."""
        return self.points[-1].budget

    @cached_property
    def curve(self) -> tuple[CurvePoint, ...]:
        """Significant gains over the sum of learning rates, made non-decreasing by isotonic regression.

        A gain is significant if it exceeds `NORMAL` standard errors; other points are dropped.
        """
        errors = [max(point.gain.error, 1e-9) if point.gain.n > 1 else 1.0 for point in self.points]
        means = [point.gain.mean for point in self.points]
        fitted = isotonic_regression(means, weights=[error**-2 for error in errors]).x
        rising = zip(self.points, fitted, errors, strict=True)
        return tuple(
            CurvePoint(point.budget, float(gain), error / gain)
            for point, gain, error in rising
            if gain > NORMAL * error
        )

    def expect(self, budget: float) -> Expectation | None:
        """Return the expected gain of a run with this sum of learning rates, in nats.

        The range covers the noise of the ramp (95 %) and the factor `WITHIN` between a ramp and a run; it
        widens with the exponent `BEYOND` for budgets beyond the ramp. None if no gain of the ramp is
        significant.
        """
        if not self.curve:
            return None
        middle, relative = self._read_off(budget)
        beyond = max(0.0, math.log(budget / self.end))
        spread = math.exp(math.hypot(NORMAL * relative, math.log(WITHIN)) + BEYOND * beyond)
        how = f", extrapolated {math.exp(beyond):.2g} times" if beyond else ""
        accuracy = self._accuracy(budget)
        source = f"a ramp of this model on these pairs{how}"
        return Expectation(middle / spread, middle, middle * spread, accuracy, source)

    def budget(self, gain: float) -> float | None:
        """Return the sum of learning rates that yields a gain of `gain` nats, found by bisection.

        None if no gain of the ramp is significant, or if the gain is not reached at `FARTHEST` times the end
        of the ramp.
        """
        low, high = 1e-9, FARTHEST * self.end
        if not self.curve or self._read_off(high)[0] < gain:
            return None
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self._read_off(middle)[0] < gain else (low, middle)
        return high

    @cached_property
    def limit(self) -> Limit:
        """The largest sum of learning rates that the ramp found harmless, and the bound crossed above it."""
        before = self.start
        for point in self.points:
            crossed = [c for band in BANDS if (c := band.crossed(before, point)) is not None]
            if crossed:
                share, why = min(crossed)
                floor = before.budget or point.budget / 2
                return Limit(floor * (point.budget / floor) ** share, why)
            before = point
        return Limit(self.end, None)

    def found_harmless(self, rate: float, budget: float) -> bool:
        """Return whether the ramp reached this rate and this budget without crossing a bound."""
        return rate <= max(point.rate for point in self.points) and budget <= self.limit.budget

    def _read_off(self, budget: float) -> tuple[float, float]:
        """Return the gain at a budget and its relative standard error, interpolated in logarithms.

        Below the first point of the curve the gain is proportional to the budget.
        """
        x = math.log(budget)
        known = [(math.log(point.budget), math.log(point.gain), point.error) for point in self.curve]
        first, last = known[0], known[-1]
        if x <= first[0]:
            return math.exp(first[1] + x - first[0]), first[2]
        if x >= last[0]:
            slope = (last[1] - first[1]) / (last[0] - first[0]) if len(known) > 1 else STEEPEST
            slope = min(STEEPEST, max(FLATTEST, slope))
            return math.exp(last[1] + slope * (x - last[0])), last[2]
        right = next(i for i, point in enumerate(known) if point[0] >= x)
        (x0, y0, e0), (x1, y1, e1) = known[right - 1], known[right]
        share = (x - x0) / (x1 - x0)
        return math.exp(y0 + share * (y1 - y0)), e0 + share * (e1 - e0)

    def _accuracy(self, budget: float) -> float | None:
        """Return the accuracy at the point with the nearest budget; None if it was not measured."""
        nearest = min(self.points, key=lambda point: abs(math.log(point.budget / budget)))
        return nearest.accuracy.mean if nearest.accuracy else None


def _point(raw: Mapping[str, Any]) -> RampPoint:
    point = RampPoint(**{name: _value(value) for name, value in raw.items()})
    if not (math.isfinite(point.budget) and math.isfinite(point.gain.mean)):
        raise ValueError("a sum of rates or gain that is no number")
    return point


def _value(raw: Any) -> Any:
    if isinstance(raw, Mapping):
        return RowMean(float(raw["mean"]), float(raw["error"]), int(raw["n"]))
    return None if raw is None else float(raw)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A point of the gain curve: sum of learning rates, gain in nats, relative standard error of the gain."""

    budget: float
    gain: float
    error: float


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest harmless sum of learning rates.

    `why` names the bound that is crossed there; None if none is.
    """

    budget: float
    why: str | None


@dataclass(frozen=True, slots=True)
class Band:
    """An upper bound on a quantity that a ramp measures.

    `read` returns the quantity at a point, None if it was not measured; `largest` is the bound, `why` names
    it.
    """

    read: Callable[[RampPoint], float | None]
    largest: float
    why: str

    def crossed(self, before: RampPoint, after: RampPoint) -> tuple[float, str] | None:
        """Return where the bound is crossed between two points, as `(fraction, why)`; None if it is not.

        The fraction is 0 at the point `before` and 1 at the point `after`.
        """
        now = self.read(after)
        if now is None or now <= self.largest:
            return None
        earlier = self.read(before)
        earlier = self.largest if earlier is None else min(earlier, self.largest)
        return (self.largest - earlier) / (now - earlier), self.why


BANDS = (
    Band(
        lambda p: p.kl_per_token.mean if p.kl_per_token else None,
        LARGEST_KL,
        f"KL reaches {LARGEST_KL:g} nats per token",
    ),
    Band(
        lambda p: -p.chosen_per_token.mean if p.chosen_per_token else None,
        LARGEST_FALL,
        f"chosen answers lose {LARGEST_FALL:g} nats per token",
    ),
)
"""Bounds within which a ramp counts as harmless."""
