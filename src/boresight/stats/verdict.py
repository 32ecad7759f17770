"""Describe the result of a comparison in one sentence."""

from __future__ import annotations

import math

from scipy.stats import norm

from boresight.core.wording import is_or_are, plural
from boresight.stats.intervals import SIGNIFICANCE_LEVEL, Z95, Interval, n_to_resolve
from boresight.stats.units import Unit, rounded_up, unit_named


def prompts_needed(difference: Interval) -> int | None:
    """Return the number of prompts at which a difference of this size would be significant with 80 % power.

    The standard deviation per prompt is computed from the interval: half-width · √n / 1.96. The result is
    None if the difference is 0, if the interval is infinite, or if more than 100 times as many prompts would
    be needed.
    """
    half_width = (difference.high - difference.low) / 2
    if difference.value == 0 or not math.isfinite(half_width):
        return None
    needed = n_to_resolve(difference.value, half_width * math.sqrt(difference.n) / Z95)
    needed = max(needed, difference.n + 1)
    return needed if needed <= 100 * difference.n else None


def detectable_difference(difference: Interval, power: float = 0.8) -> float | None:
    """Return the smallest true difference that as many prompts show to be significant with the given power.

        (z(95 %) + z(power)) · standard error

    The standard error is computed from the interval. The result is None if the interval is infinite.
    """
    half_width = (difference.high - difference.low) / 2
    return half_width * (1 + float(norm.ppf(power)) / Z95) if math.isfinite(half_width) else None


def verdict(
    difference: Interval,
    a: str = "A",
    b: str = "B",
    unit: str = "points",
    better: str = "higher",
    length_controlled: Interval | None = None,
) -> str:
    """Describe a paired difference b minus a in one sentence, for example:

    "B beats A by 4.1 points [1.0, 7.2], n = 800; length-controlled 2.0 [-1.2, 5.1]: not significant, needs
    about 4,100 prompts."

    `difference` and `length_controlled` (the same difference at equal answer lengths) are in `unit`; pass
    "share" for differences of shares in 0..1. With `better="lower"`, b beats a if the difference is negative.
    """
    style = unit_named(unit)
    sentence = _main_clause(difference, a, b, style, better)
    if length_controlled is not None:
        sentence += "; " + _length_clause(difference, length_controlled, style)
    if missing := difference.missing:
        sentence += f"; {plural(missing, 'prompt')} {is_or_are(missing)} missing"
    return sentence + "."


def after_holm(sentence: str, p: float, resolved: bool) -> str:
    """Append to a verdict its p-value after Holm's adjustment, and whether this makes it insignificant.

    `resolved` is whether the difference is significant without the adjustment.

    >>> after_holm("B beats A.", 0.053, resolved=True)
    "B beats A; p = 0.053 after Holm's adjustment: not significant among so many comparisons."
    """
    undone = ": not significant among so many comparisons" if resolved and p >= SIGNIFICANCE_LEVEL else ""
    return f"{sentence[:-1]}; p = {p:.2g} after Holm's adjustment{undone}."


def _main_clause(difference: Interval, a: str, b: str, style: Unit, better: str) -> str:
    flip = -1 if better == "lower" else 1
    gain = difference.scaled(flip)
    if not gain.excludes_zero:
        lead = f"{b} and {a} do not differ significantly: {style.change(difference)}, n = {difference.n:,}"
        return f"{lead}; {_of_this_size(difference, style)}"
    winner, loser = (b, a) if gain.value > 0 else (a, b)
    shown = gain if gain.value > 0 else gain.scaled(-1)
    return f"{winner} beats {loser} by {style.lead(shown)}, n = {shown.n:,}"


def _length_clause(difference: Interval, controlled: Interval, style: Unit) -> str:
    # The sign is that of the main clause: positive for the winner, or b minus a if there is no winner.
    shown = controlled.scaled(-1) if difference.high < 0 else controlled
    value = style.number(shown.value, style.more_decimals(shown))
    clause = f"length-controlled {value} {style.limits(shown)}"
    if not shown.excludes_zero:
        return f"{clause}: not significant, {_needs(shown, style)}"
    if not difference.excludes_zero:
        return f"{clause}: significant at equal length"
    return f"{clause}: the other way round" if shown.value < 0 else clause


def needed_prompts_in_words(difference: Interval, style: Unit) -> str:
    """Describe an insignificant difference by the number of prompts needed, or by an upper bound on it."""
    return f"not significant, {_needs(difference, style)}"


def _of_this_size(difference: Interval, style: Unit) -> str:
    """Describe an insignificant difference as `needed_prompts_in_words`, without the words "not
    significant"."""
    needs = _needs(difference, style)
    return f"a difference of this size {needs}" if needs.startswith("needs") else needs


def _needs(difference: Interval, style: Unit) -> str:
    needed = prompts_needed(difference)
    if needed is not None:
        return f"needs about {rounded_up(needed):,} prompts"
    most = max(abs(difference.low), abs(difference.high))
    if not math.isfinite(most):
        return "one prompt is no evidence"
    return f"any difference is below {style.difference(most)}"
