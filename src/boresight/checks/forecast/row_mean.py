"""Compute a mean over rows with its standard error."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtrit


@dataclass(frozen=True, slots=True)
class RowMean:
    """A mean over rows with its standard error; `error` is NaN for fewer than two rows."""

    mean: float
    error: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> RowMean:
        """Compute the mean and its standard error over the values that are not NaN."""
        known = [value for value in values if not math.isnan(value)]
        error = stdev(known) / math.sqrt(len(known)) if len(known) > 1 else math.nan
        return cls(fmean(known) if known else math.nan, error, len(known))

    @property
    def half_width(self) -> float:
        """Half-width of Student's 95 % interval of the mean; NaN for fewer than two rows."""
        return float(stdtrit(self.n - 1, 0.975)) * self.error if self.n > 1 else math.nan
