"""Compute quantiles without interpolation, which are observed values, for displayed lengths and scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

Number = TypeVar("Number", int, float)


def nearest_rank(values: Iterable[Number], at: Sequence[float]) -> list[Number]:
    """Return the quantiles `at` (shares in [0, 1]) by nearest rank: each is one of the values.

    >>> nearest_rank([10, 30, 20], (0, 0.5, 0.9))
    [10, 20, 30]
    """
    ordered = sorted(values)
    return [ordered[round(share * (len(ordered) - 1))] for share in at]
