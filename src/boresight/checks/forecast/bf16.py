"""Estimate the share of bfloat16 weights that an update of a given size can change at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

TYPICAL_SPREAD = 0.02
"""Standard deviation of the weights of language models under 1B parameters, used if no weights are loaded."""
SAMPLE = 200_000
"""Approximate number of weights to sample in total, divided equally among the tensors."""


def smallest_that_stays(update: float) -> float:
    """Return the smallest absolute weight that `update` cannot change when the sum is rounded to bfloat16.

    Between 2^e and 2^(e+1) bfloat16 numbers are 2^(e-7) apart, and an update of less than half of that,
    2^(e-8), is rounded away. So all weights below 2^(floor(log2(256 * update)) + 1) can change.
    """
    return 2.0 ** (math.floor(math.log2(256 * update)) + 1)


def share_of_normal(update: float, spread: float = TYPICAL_SPREAD) -> float:
    """Return the share of normally distributed weights that `update` can change.

    With `spread` 0.02 it is 0.24 % at 2e-7, 1.9 % at 1e-6, and 7.8 % at 5e-6.
    """
    return math.erf(smallest_that_stays(update) / spread / math.sqrt(2))


def movable_share(update: float, parameters: Sequence[Tensor]) -> float:
    """Return the share of the weights in `parameters` that `update` can change.

    It is estimated on a sample of each tensor.
    """
    real = [p for p in parameters if p.device.type != "meta" and p.numel()]
    if not real:
        return share_of_normal(update)
    limit, each = smallest_that_stays(update), max(1, SAMPLE // len(real))
    moved = sum(p.numel() * _share_below(limit, p, each) for p in real)
    return moved / sum(p.numel() for p in real)


def _share_below(limit: float, parameter: Tensor, count: int) -> float:
    """Return the share of weights with magnitude below `limit`, from about `count` evenly spaced ones."""
    # An odd step: one that divides the width of a matrix would stay in a single column.
    step = max(1, parameter.numel() // count) | 1
    some = parameter.detach().flatten()[::step].float().abs()
    return int((some < limit).sum()) / some.numel()
