"""How fast a run learns: the area under its held-out accuracy over verifier calls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from boresight.core.errors import UserError
from boresight.reports.read_run import RunData

CALLS = "verifier_calls"
"""Completions that a run's rewards have scored since it began, as the log has them."""


def held_out_by_calls(run: RunData, metric: str = "reward") -> list[tuple[int, float]]:
    """Verifier calls and held-out value of every evaluation, the start model's first.

    Raises:
        UserError: the run logs no verifier calls, or an evaluation lacks the value or was measured twice.
    """
    counted = {int(line["step"]): int(line[CALLS]) for line in run.train if _known(line, CALLS)}
    if not counted:
        raise UserError(f"{run.folder}: logs no {CALLS}, which methods that sample answers do.")
    curve: list[tuple[int, float]] = []
    for line in run.eval:
        step = int(line["step"])
        if not _known(line, metric):
            raise UserError(f"{run.folder}: the evaluation after step {step} has no {metric}.")
        calls = max((n for at, n in counted.items() if at <= step), default=0)
        if curve and calls <= curve[-1][0]:
            raise UserError(f"{run.folder}: two evaluations after {calls:,} verifier calls.")
        curve.append((calls, float(line[metric])))
    return curve


def area_under(curve: Sequence[tuple[int, float]]) -> float:
    """Mean height of a curve over its calls, by the trapezoid rule: in the unit of its values.

        A = Σ (x_i - x_{i-1}) (y_i + y_{i-1}) / 2 / (x_n - x_0)

    Raises:
        UserError: fewer than two points, of which none has an area.
    """
    if len(curve) < 2:
        raise UserError(f"A curve of {len(curve)} evaluations has no area; two are the least.")
    parts = [(x - before) * (y + was) / 2 for (before, was), (x, y) in pairwise(curve)]
    return math.fsum(parts) / (curve[-1][0] - curve[0][0])


def _known(line: Mapping[str, Any], name: str) -> bool:
    value = line.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
