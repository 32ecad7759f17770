"""Axes: convert values to positions between 0 and 1, and choose round numbers as marks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

AIR = 0.06
"""Free space above and below the values, as a share of their range."""
MOST_DECIMALS = 4
"""Maximum number of decimals; numbers that need more are written with an exponent."""


@dataclass(frozen=True)
class PlotScale:
    """An axis from `low` to `high`, which are finite and differ.

    `names` are written at the values 0, 1, 2, … in place of numbers. `places`, if given, are the values to
    write in place of round numbers. If `is_whole`, as for steps, only whole numbers are written.
    """

    low: float
    high: float
    kind: Literal["linear", "log"] = "linear"
    names: tuple[str, ...] = ()
    is_share: bool = False
    places: tuple[float, ...] = ()
    is_whole: bool = False

    def at(self, value: float) -> float:
        """Position of a value between `low` (0) and `high` (1)."""
        low, high, value = map(self._straight, (self.low, self.high, value))
        return (value - low) / (high - low)

    def marks(self) -> list[tuple[float, str]]:
        """Return the values to write along the axis, with their texts."""
        if self.names:
            return [(float(place), name) for place, name in enumerate(self.names)]
        if self.places:
            return [(place, f"{place:,g}") for place in self.places]
        factor = 100 if self.is_share else 1
        found = log_ticks(self.low, self.high) if self.kind == "log" else None
        low, high = factor * self.low, factor * self.high
        found = found or [tick / factor for tick in ticks(low, high, is_whole=self.is_whole)]
        texts = tick_texts([factor * value for value in found])
        unit = "\u00a0%" if self.is_share else ""
        return [(value, text + unit) for value, text in zip(found, texts, strict=True)]

    def _straight(self, value: float) -> float:
        return math.log10(value) if self.kind == "log" else value


def scale_of(
    values: Iterable[float], kind: Literal["linear", "log"] = "linear", *, is_share: bool = False
) -> PlotScale:
    """Return a scale that covers all values, with free space at both ends; shares stay within 0 and 1.

    If all values are equal, the space on each side is half of their size, so that rounding does not look like
    a change. If all values are 0, the axis ends at 1.

    A logarithmic scale requires positive values: if any is 0 or negative, the scale is linear.

    Raises:
        ValueError: there is no value.
    """
    found = list(values)
    low, high = min(found), max(found)
    if kind == "log" and low > 0:
        air = AIR * math.log10(high / low) or 0.1
        return PlotScale(low / 10**air, high * 10**air, "log")
    high = high or float(low == 0)
    air = AIR * (high - low) or abs(high) / 2
    if is_share and low >= 0 and high <= 1:
        return PlotScale(max(0.0, low - air), min(1.0, high + air), is_share=True)
    return PlotScale(low - air, high + air, is_share=is_share)


def named_scale(names: Sequence[str]) -> PlotScale:
    """Return an axis with names for the values 0, 1, 2, …"""
    return PlotScale(-0.5, len(names) - 0.5, names=tuple(names))


def ticks(low: float, high: float, most: int = 5, *, is_whole: bool = False) -> list[float]:
    """Return equally spaced round numbers from `low` to `high`, with at most `most` steps between them.

    Args:
        is_whole: return whole numbers only.
    """
    step = round_step((high - low) / most)
    if is_whole and step % 1:
        step = 5.0 if step > 1 else 1.0  # instead of 2.5, or of less than 1
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(12, 3 - math.floor(math.log10(step)))
    return [round(k * step, digits) for k in range(first, last + 1)]


def round_step(rough: float) -> float:
    """Return the smallest 1, 2, 2.5 or 5 times a power of ten that is at least `rough` (above 0)."""
    scale = 10 ** math.floor(math.log10(rough))
    return next(scale * k for k in (1, 2, 2.5, 5, 10) if scale * k >= rough)


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most `most` powers of ten from `low` to `high`.

    Their multiples by 2 and 5, or by 3, are included if these fit. The list is empty if it would have fewer
    than two values; linear ticks are better then.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in ((1, 2, 5), (1, 3), (1,)):
        found = [k * 10.0**power for power in decades for k in parts if low <= k * 10.0**power <= high]
        if len(found) <= most:
            return found if len(found) > 1 else []
    return found[:: -(-len(found) // most)]


def tick_texts(values: Sequence[float]) -> list[str]:
    """Return the texts of the numbers on an axis, with a true minus sign.

    Equally spaced numbers have the same number of decimals.
    """
    gap = min((b - a for a, b in pairwise(values)), default=1.0)
    digits = min(decimals(gap), 12)
    if digits > MOST_DECIMALS or max(map(abs, values), default=0.0) >= 1e6:
        texts = [_with_exponent(value) for value in values]
    elif len({round(b - a, 12) for a, b in pairwise(values)}) > 1:  # logarithmic: each as short as it can be
        texts = [f"{value:,.6g}" for value in values]
    else:
        texts = [f"{value:,.{digits}f}" for value in values]
    return [text.replace("-", "\N{MINUS SIGN}") for text in texts]


def _with_exponent(value: float) -> str:
    """Format a number with an exponent, such as `1.5e-4`; 0 stays `0`."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if value else "0"


def decimals(gap: float) -> int:
    """Return the number of decimals that distinguishes round numbers at a distance of `gap`."""
    return max(0, math.ceil(-math.log10(gap) - 1e-9) + (f"{gap:e}"[0:3] == "2.5"))
