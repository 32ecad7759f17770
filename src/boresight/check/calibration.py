"""From a learning-rate budget to the margin it has bought in other runs.

Adam moves every weight by at most about the learning rate a step, so the sum of rates bounds how far a run
can go, and runs of different length, rate and schedule fall on one curve over it. `calibration.jsonl` holds
measured curves, one a line, with their source; `scripts/calibrate.py` adds a run's own.

    {"model", "parameters", "lora", "method", "beta", "data", "source",
     "points": [[sum of learning rates, held-out margin in nats, held-out accuracy or null], ...]}
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("calibration.jsonl")
TRANSFER = 2.5
"""A curve carries over to another model to within this factor in nats."""
LORA_FACTOR = 10.0
"""Rule of thumb: adapters need about ten times the learning rate of full training. Used, with a wider range,
only while no curve of a LoRA run is at hand."""
SMALLEST_MODEL = 30_000_000
"""The curves say nothing about models far smaller than those they were measured on."""
LARGEST_MARGIN = 30.0

Point = tuple[float, float, float | None]


@dataclass(frozen=True)
class Curve:
    """Held-out margin and accuracy over the sum of learning rates, from one model's runs."""

    model: str
    parameters: int
    lora: bool
    source: str
    points: tuple[Point, ...]

    def margin(self, budget: float) -> float:
        """Expected margin, nats: interpolated in the logarithm of both, extrapolated by the nearest piece."""
        known = [(math.log(x), math.log(h)) for x, h, _ in self.points if h > 0]
        right = next((i for i, (x, _) in enumerate(known) if x >= math.log(budget)), len(known) - 1)
        (x0, y0), (x1, y1) = known[max(0, right - 1)], known[max(1, right)]
        found = y0 + (y1 - y0) * (math.log(budget) - x0) / (x1 - x0)
        return min(LARGEST_MARGIN, math.exp(found))

    def accuracy(self, budget: float) -> float | None:
        """Expected held-out accuracy: linear in the logarithm of the budget, flat outside the points."""
        known = [(math.log(x), a) for x, _, a in self.points if a is not None]
        if not known:
            return None
        x = math.log(budget)
        for (x0, y0), (x1, y1) in zip(known, known[1:], strict=False):
            if x0 <= x <= x1:
                return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
        return max(0.5, known[0][1] if x < known[0][0] else known[-1][1])

    def budget(self, margin: float) -> float:
        """The sum of learning rates that buys `margin` nats, by bisection."""
        low, high = 1e-8, 10.0
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.margin(middle) < margin else (low, middle)
        return high


@dataclass(frozen=True)
class Expectation:
    """What a budget buys: the middle and the ends of the range, nats, and where this is known from."""

    low: float
    middle: float
    high: float
    accuracy: float | None
    source: str


def curves(file: Path = FILE) -> list[Curve]:
    """Every measured curve; runs of one model are pooled."""
    pooled: dict[tuple[str, bool], list[dict]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip():
            raw = json.loads(line)
            pooled.setdefault((raw["model"], raw["lora"]), []).append(raw)
    return [_pool(group) for group in pooled.values()]


def expect(
    budget: float, parameters: int | None, lora: bool, known: Sequence[Curve] | None = None
) -> Expectation | None:
    """The margin that a sum of learning rates buys on a model of this size; None below `SMALLEST_MODEL`."""
    if parameters is None or parameters < SMALLEST_MODEL:
        return None
    curve, scale, spread = choose(parameters, lora, known)
    middle = curve.margin(budget / scale)
    source = curve.model if scale == 1 else f"{curve.model}, full training, at a tenth of the rates"
    return Expectation(
        low=middle / spread,
        middle=middle,
        high=min(LARGEST_MARGIN, middle * spread),
        accuracy=curve.accuracy(budget / scale),
        source=source,
    )


def choose(parameters: int, lora: bool, known: Sequence[Curve] | None = None) -> tuple[Curve, float, float]:
    """The curve nearest in size, what to divide the budget by, and the factor of the range."""
    known = list(curves() if known is None else known)
    alike = [curve for curve in known if curve.lora == lora]
    nearest = min(alike or known, key=lambda c: abs(math.log(c.parameters / parameters)))
    if alike or not lora:
        return nearest, 1.0, TRANSFER
    return nearest, LORA_FACTOR, 2 * TRANSFER


def _pool(group: list[dict]) -> Curve:
    first = group[0]
    points = sorted((float(x), float(h), a) for raw in group for x, h, a in raw["points"])
    sources = "; ".join(dict.fromkeys(raw["source"] for raw in group))
    return Curve(first["model"], first["parameters"], first["lora"], sources, _rising(points))


def _rising(points: Sequence[Point]) -> tuple[Point, ...]:
    """Neighbours with the same budget averaged, so that interpolation never divides by zero."""
    groups: list[list[Point]] = []
    for point in points:
        if groups and point[0] <= groups[-1][0][0] * 1.02:
            groups[-1].append(point)
        else:
            groups.append([point])
    return tuple(
        (group[0][0], _mean([h for _, h, _ in group]), _mean_known([a for *_, a in group]))
        for group in groups
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if known else None
