"""Format numbers and intervals in the unit of a metric.

share = unit_named("share")
share.estimate(interval)        # 62.5 % [40.0, 80.0]
share.change(difference)        # +4.1 points [1.0, 7.2]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from boresight.stats.intervals import Interval


@dataclass(frozen=True)
class Unit:
    """Format of numbers in one unit: of values, and of differences of two values.

    Numbers are multiplied by `factor` before they are written.
    """

    factor: float = 1.0
    value_suffix: str = ""
    difference_suffix: str = ""
    decimals: int = 1
    """Number of decimals of 0 and of numbers from 1 to 10."""

    def number(self, x: float, more: int = 0) -> str:
        """Format a number without the unit's name, e.g. 62.5 for a share of 0.625.

        `more` is a number of additional decimals, here and in the methods below.
        """
        return format_number(x * self.factor, self.decimals, more)

    def value(self, x: float, more: int = 0) -> str:
        """Format a value, e.g. 62.5 %."""
        return f"{self.number(x, more)}{self.value_suffix}"

    def difference(self, x: float, more: int = 0) -> str:
        """Format the absolute value of a difference, e.g. 4.1 points."""
        suffix = self.difference_suffix
        text = self.number(abs(x), more)
        return f"{text} {suffix[:-1] if suffix == 'points' and text == '1.0' else suffix}".strip()

    def signed(self, x: float, more: int = 0) -> str:
        """Format a difference with its sign, e.g. +4.1 points."""
        return ("+" if x > 0 else "-" if x < 0 else "") + self.difference(x, more)

    def limits(self, interval: Interval) -> str:
        """Format the limits of an interval as [low, high], without the unit's name."""
        more = self.more_decimals(interval)
        return f"[{self.number(interval.low, more)}, {self.number(interval.high, more)}]"

    def estimate(self, interval: Interval) -> str:
        """Format a value with its limits, e.g. 62.5 % [40.0, 80.0]."""
        return f"{self.value(interval.value, self.more_decimals(interval))} {self.limits(interval)}"

    def change(self, interval: Interval) -> str:
        """Format a difference with its sign and its limits, e.g. +4.1 points [1.0, 7.2]."""
        return f"{self.signed(interval.value, self.more_decimals(interval))} {self.limits(interval)}"

    def lead(self, interval: Interval) -> str:
        """Format the absolute value of a difference with its limits, for sentences that name the better
        system."""
        return f"{self.difference(interval.value, self.more_decimals(interval))} {self.limits(interval)}"

    def more_decimals(self, interval: Interval) -> int:
        """Return the smallest number of additional decimals with which both limits differ from the value.

        A limit that equals the value, or is infinite, needs none.
        """
        x = interval.value
        apart = [
            end
            for end in (interval.low, interval.high)
            if math.isfinite(end - x) and abs(end - x) * self.factor >= SMALLEST
        ]

        def reads_apart(more: int) -> bool:
            return all(self.number(end, more) != self.number(x, more) for end in apart)

        return next((more for more in range(MOST_DECIMALS) if reads_apart(more)), 0)


UNITS = {
    "share": Unit(100, " %", "points"),
    "points": Unit(1, "", "points"),
    "reward": Unit(decimals=2),
}


def unit_named(name: str) -> Unit:
    """Return the unit with this name.

    Shares are written as percentages, their differences as points, and rewards with two decimals. Any other
    name is itself written after the number.
    """
    return UNITS.get(name) or Unit(1, f" {name}" if name else "", name)


SMALLEST = 5e-7
"""Numbers with a smaller absolute value are written as 0, since they have no digit in `MOST_DECIMALS`
decimals."""
MOST_DECIMALS = 6


def format_number(x: float, decimals: int = 1, more: int = 0) -> str:
    """Format a number with one decimal from 1 up, two significant digits below 1, no decimals from 1,000 up.

    `decimals` is the number of decimals of 0 and of numbers from 1 to 10, `more` a number of decimals to add
    to all numbers.
    """
    if not math.isfinite(x):
        return "∞" if x > 0 else "-∞" if x < 0 else "?"
    if abs(x) < SMALLEST:
        x = 0.0
    if abs(x) >= 1000:
        shown = 0
    elif abs(x) >= 10:
        shown = 1
    elif abs(x) >= 1 or x == 0:
        shown = decimals
    else:
        shown = 1 - math.floor(math.log10(abs(x)))
    return f"{x:,.{min(MOST_DECIMALS, shown + more)}f}"


def rounded_up(n: int) -> int:
    """Round up to two significant digits, so that an estimate does not look exact."""
    digits = max(0, len(str(n)) - 2)
    return math.ceil(n / 10**digits) * 10**digits
