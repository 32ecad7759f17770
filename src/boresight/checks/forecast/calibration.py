"""Forecast the margin of a run from its sum of learning rates (the budget) and the margins of other runs.

Adam changes every weight by at most about the learning rate per step, so the sum of learning rates bounds how
far a run can move from its start. Runs of different length, rate and schedule on the same pairs fall on one
curve of margin over budget. The slope of that curve depends on the pairs, by a factor of ten and more, and on
the model. A forecast is therefore made only from curves that were measured on the same pairs: it is their
geometric mean. Curves of the same model and method are the model's own; all other curves are borrowed, and
the range of the forecast is then as wide as the largest error of such forecasts so far. `calibration.jsonl`
holds the measured points, one line per run or model card; `scripts/calibrate.py` adds those of a new run.

    {"model", "parameters", "lora", "method", "beta", "data", "pairs", "own_answers", "source",
     "points": [[sum of learning rates, held-out margin in nats, held-out accuracy or null], ...]}

`data` is a name for the pairs, `pairs` lists the names of their source (`pair_sources`). The margin grows
differently on pairs of the model's own answers (`own_answers`) than on answers of another model, so such a
curve is used for that model alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from boresight.checks.forecast.expectation import (
    BORROWED,
    LARGEST_MARGIN,
    RUN_TO_RUN,
    Elsewhere,
    Expectation,
)
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.files import read_jsonl
from boresight.methods.published import CALIBRATED

FILE = Path(__file__).with_name("calibration.jsonl")
SAME_BUDGET = 1.05
"""Maximum ratio of budgets that count as one point; their margins and accuracies are averaged."""
ALIKE_IN_SIZE = 4.0
"""Maximum ratio of a curve's distance in model size to that of the nearest curve.

The distance is the ratio between the two numbers of parameters. Curves beyond the maximum are not used.
"""
SMALLEST_MODEL = 30_000_000
"""Minimum number of parameters of a model for which the curves are used; all were measured on larger
models."""

Point = tuple[float, float, float | None]


@dataclass(frozen=True)
class CalibrationCurve:
    """Held-out margin and accuracy over the sum of learning rates, of one model on one set of pairs."""

    model: str
    parameters: int
    lora: bool
    data: str
    source: str
    points: tuple[Point, ...]
    pairs: frozenset[str] = frozenset()
    """Names of the sources of the pairs that the points were measured on (`pair_sources`)."""
    own_answers: bool = False
    """Whether the pairs are answers of the model itself."""
    method: str = CALIBRATED

    def measured(self, model: str, pairs: Collection[str]) -> bool:
        """Return whether the points were measured on `pairs` and are valid for `model`."""
        return not self.pairs.isdisjoint(pairs) and (not self.own_answers or model == self.model)

    def margin(self, budget: float) -> float:
        """Return the expected margin at a budget, in nats, by linear interpolation in the logarithms of both.

        Below the first point the margin is proportional to the budget. Above the last point the slope between
        the last two points is continued, limited to 0.5 to 1 (in logarithms).
        """
        known = [(math.log(x), math.log(h)) for x, h, _ in self.points if h > 0]
        x, (first, last) = math.log(budget), (known[0], known[-1])
        if x <= first[0]:
            return math.exp(first[1] + x - first[0])
        if x >= last[0]:
            slope = _slope(known[-2], last) if len(known) > 1 else 1.0
            return min(LARGEST_MARGIN, math.exp(last[1] + min(1.0, max(0.5, slope)) * (x - last[0])))
        right = next(i for i, (at, _) in enumerate(known) if at >= x)
        left = known[right - 1]
        return min(LARGEST_MARGIN, math.exp(left[1] + _slope(left, known[right]) * (x - left[0])))

    def accuracy(self, budget: float) -> float | None:
        """Return the expected held-out accuracy, by linear interpolation in the logarithm of the budget.

        Below the first point the excess over one half is proportional to the budget; above the last point the
        accuracy is constant. None if no accuracy was measured.
        """
        known = [(math.log(x), a) for x, _, a in self.points if a is not None]
        if not known:
            return None
        x = math.log(budget)
        for (x0, y0), (x1, y1) in pairwise(known):
            if x0 <= x <= x1:
                return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
        if x > known[-1][0]:
            return known[-1][1]
        return 0.5 + (max(0.5, known[0][1]) - 0.5) * math.exp(x - known[0][0])


@dataclass(frozen=True)
class Family:
    """The curves that a forecast is made from.

    `borrowed` is False only if all of them were measured with the run's own model and method on its pairs.
    """

    curves: tuple[CalibrationCurve, ...]
    borrowed: bool = True

    @property
    def source(self) -> str:
        """Source of the curves as text, such as `dpo runs of a and b on these pairs, b on those`."""
        models: dict[str, list[str]] = {}
        for curve in self.curves:
            models.setdefault(curve.data, []).append(curve.model)
        runs = ", ".join(f"{' and '.join(names)} on {data}" for data, names in models.items())
        used = " and ".join(dict.fromkeys(curve.method for curve in self.curves))
        return f"{'' if self.borrowed else 'earlier '}{used} runs of {runs}"

    def margin(self, budget: float) -> float:
        """Return the geometric mean of the curves' margins at `budget`, in nats."""
        return math.exp(_mean([math.log(curve.margin(budget)) for curve in self.curves]))

    def budget(self, margin: float) -> float:
        """Return the sum of learning rates that yields a margin of `margin` nats, found by bisection."""
        low, high = 1e-8, 10.0
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.margin(middle) < margin else (low, middle)
        return high

    def expect(self, budget: float) -> Expectation:
        """Return the forecast at a budget: the geometric mean of the curves, with its range.

        The range covers every curve and the largest error of such forecasts so far.
        """
        each = [curve.margin(budget) for curve in self.curves]
        miss = BORROWED if self.borrowed else RUN_TO_RUN
        return Expectation(
            low=min(each) / miss,
            middle=self.margin(budget),
            high=min(LARGEST_MARGIN, max(each) * miss),
            accuracy=_mean_known([curve.accuracy(budget) for curve in self.curves]),
            source=self.source,
            borrowed=self.borrowed,
        )

    def elsewhere(self, budget: float, declared: str | None) -> Elsewhere:
        """Return the range of the margins that these runs reached at `budget`, for a run on other pairs.

        `declared` is the name of the pairs in `check.like`; None if the recipe sets none.
        """
        each = [curve.margin(budget) for curve in self.curves]
        return Elsewhere(min(each), max(each), self.source, declared)


def calibration_curves(file: Path = FILE) -> list[CalibrationCurve]:
    """Every measured curve with a margin above 0; runs of one model on the same data are pooled."""
    pooled: dict[tuple[str, bool, str, str], list[dict]] = {}
    for raw in read_jsonl(file):
        key = (raw["model"], raw["lora"], raw["data"], raw.get("method", CALIBRATED))
        pooled.setdefault(key, []).append(raw)
    curves = [_pool(group) for group in pooled.values()]
    return [curve for curve in curves if any(margin > 0 for _, margin, _ in curve.points)]


def choose(
    parameters: int | None,
    lora: bool,
    *,
    trained: tuple[str, Collection[str]] | None = None,
    method: str = CALIBRATED,
    like: str | None = None,
    known: Sequence[CalibrationCurve] | None = None,
) -> Family | None:
    """Choose the calibration curves of the models nearest in size.

    Args:
        parameters: number of parameters of the model; None where unknown.
        lora: whether the run trains adapters; only curves of the same kind of training are used.
        trained: name of the model and sources of its pairs (`pair_sources`). Only curves on these pairs are
            used; if some of them are of this model and method, only those. Curves on a model's own answers
            are used for that model alone. None: all curves are used.
        method: method of the run; curves of other methods count as borrowed.
        like: name of a data set; only curves on it are used.
        known: curves to choose from; None takes those of `calibration.jsonl`.

    Returns:
        The chosen curves. None if there is no such curve, and for a model of unknown size or below
        `SMALLEST_MODEL`.

    Raises:
        UserError: no curve was measured on the data `like`.
    """
    known = [curve for curve in (calibration_curves() if known is None else known) if curve.lora == lora]
    if like is not None:
        names = sorted({curve.data for curve in known})
        if like not in names:
            raise UserError(
                f"check.like: no curve of {like!r}{nearest(like, names)}; add one with scripts/calibrate.py."
            )
        known = [curve for curve in known if curve.data == like]
    own = False
    if trained is not None:
        known = [curve for curve in known if curve.measured(*trained)]
        of_model = [curve for curve in known if (curve.model, curve.method) == (trained[0], method)]
        known, own = of_model or known, bool(of_model)
    if parameters is None or parameters < SMALLEST_MODEL or not known:
        return None
    distances = [math.exp(abs(math.log(curve.parameters / parameters))) for curve in known]
    most = ALIKE_IN_SIZE * min(distances)
    near = tuple(curve for curve, d in zip(known, distances, strict=True) if d <= most)
    return Family(near, borrowed=not own)


def _pool(group: list[dict]) -> CalibrationCurve:
    first = group[0]
    points = sorted((float(x), float(h), a) for raw in group for x, h, a in raw["points"])
    sources = "; ".join(dict.fromkeys(raw["source"] for raw in group))
    return CalibrationCurve(
        model=first["model"],
        parameters=first["parameters"],
        lora=first["lora"],
        data=first["data"],
        source=sources,
        points=_merged(points),
        pairs=frozenset(name for raw in group for name in raw.get("pairs", ())),
        own_answers=any(raw.get("own_answers") for raw in group),
        method=first.get("method", CALIBRATED),
    )


def _merged(points: Sequence[Point]) -> tuple[Point, ...]:
    """Average neighboring points of about the same budget, so that interpolation never divides by zero."""
    groups: list[list[Point]] = []
    for point in points:
        if groups and point[0] <= groups[-1][0][0] * SAME_BUDGET:
            groups[-1].append(point)
        else:
            groups.append([point])
    return tuple(
        (_mean([x for x, *_ in group]), _mean([h for _, h, _ in group]), _mean_known([a for *_, a in group]))
        for group in groups
    )


def _slope(left: tuple[float, float], right: tuple[float, float]) -> float:
    return (right[1] - left[1]) / (right[0] - left[0])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if known else None
