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
    """How numbers of one unit are written: a value, and a difference of two values."""

    factor: float = 1.0
    value_suffix: str = ""
    difference_suffix: str = ""
    decimals: int = 1
    """Number of decimals of 0 and of numbers from 1 to 10."""

    def number(self, x: float, more: int = 0) -> str:
        """A number without the unit's name, e.g. 62.5 for a share of 0.625."""
        return format_number(x * self.factor, self.decimals, more)

    def value(self, x: float, more: int = 0) -> str:
        """A value, e.g. 62.5 %."""
        return f"{self.number(x, more)}{self.value_suffix}"

    def difference(self, x: float, more: int = 0) -> str:
        """The size of a difference, e.g. 4.1 points."""
        suffix = self.difference_suffix
        text = self.number(abs(x), more)
        return f"{text} {suffix[:-1] if suffix == 'points' and text == '1.0' else suffix}".strip()

    def signed(self, x: float, more: int = 0) -> str:
        """A difference with its sign, e.g. +4.1 points."""
        return ("+" if x > 0 else "-" if x < 0 else "") + self.difference(x, more)

    def limits(self, interval: Interval) -> str:
        """[low, high] without the unit's name."""
        more = self.more_decimals(interval)
        return f"[{self.number(interval.low, more)}, {self.number(interval.high, more)}]"

    def estimate(self, interval: Interval) -> str:
        """A value with its limits."""
        return f"{self.value(interval.value, self.more_decimals(interval))} {self.limits(interval)}"

    def change(self, interval: Interval) -> str:
        """A difference with its sign and its limits."""
        return f"{self.signed(interval.value, self.more_decimals(interval))} {self.limits(interval)}"

    def lead(self, interval: Interval) -> str:
        """The size of a difference with its limits, for sentences that name the better one."""
        return f"{self.difference(interval.value, self.more_decimals(interval))} {self.limits(interval)}"

    def more_decimals(self, interval: Interval) -> int:
        """The fewest additional decimals with which both limits read otherwise than the value.

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
    """Shares are written as percentages, their differences as points, and rewards with two decimals.

    Other units keep their own name.
    """
    return UNITS.get(name) or Unit(1, f" {name}" if name else "", name)


SMALLEST = 5e-7
"""Numbers below it are written as 0, since `MOST_DECIMALS` are written."""
MOST_DECIMALS = 6


def format_number(x: float, decimals: int = 1, more: int = 0) -> str:
    """Enough digits to act on: one decimal from 1 up, two significant below, none from 1,000 up.

    `decimals` is the number of decimals of 0 and of numbers from 1 to 10, `more` a number to add everywhere.
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
