"""Format counts, sizes and durations for sentences, the same way everywhere."""

from __future__ import annotations

MINUTE, HOUR, DAY = 60, 3600, 86_400
"""Length of a minute, an hour and a day, in seconds."""


def plural(count: float, noun: str) -> str:
    """Format a count with its noun, given in the singular: `1 pair`, `1,717 pairs`, `2 processes`,
    `1.5 epochs`."""
    ending = "" if count == 1 else "es" if noun.endswith(("s", "x", "tch", "sh")) else "s"
    return f"{count:,} {noun}{ending}" if isinstance(count, int) else f"{count:g} {noun}{ending}"


def is_or_are(count: int) -> str:
    """Return `is` for a count of 1, otherwise `are`."""
    return "is" if count == 1 else "are"


def percent(share: float, decimals: int | None = None) -> str:
    """Format a share between 0 and 1 as a percentage: `12 %`, `0.4 %`.

    Args:
        decimals: number of decimals; None for one decimal below 10 % and none above.
    """
    if decimals is None:
        decimals = 0 if share >= 0.0995 or share == 0 else 1
    return f"{100 * share:.{decimals}f} %"


def cut_at_tokens(count: int | None) -> str:
    """Return the note for an answer that was truncated at `count` tokens, `cut at 64 tokens`; '' for None."""
    return "" if count is None else f"cut at {plural(count, 'token')}"


def format_size(gb: float) -> str:
    """Format a size given in GB, in the largest of GB, MB and kB in which it is at least 1: `1.6 GB`,
    `22 MB`."""
    value, unit = gb, "GB"
    for smaller in ("MB", "kB"):
        if round(value, 1) >= 1:
            break
        value, unit = 1000 * value, smaller
    return f"{value:.1f} {unit}" if round(value, 1) < 10 else f"{value:,.0f} {unit}"


def format_duration(seconds: float) -> str:
    """Format a duration with at most two units: `45 s`, `6 min 5 s`, `1 h 54 min` or `2 d 3 h`.

    Durations below 10 s have one decimal. From 10 minutes on, seconds are omitted.
    """
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < MINUTE:
        return f"{seconds:.0f} s"
    if round(seconds) < 10 * MINUTE:
        return _two(round(seconds), 60, "min", "s")
    if round(seconds / MINUTE) < 60:
        return f"{seconds / MINUTE:.0f} min"
    if round(seconds / MINUTE) < DAY // MINUTE:
        return _two(round(seconds / MINUTE), 60, "h", "min")
    return _two(round(seconds / HOUR), 24, "d", "h")


def _two(count: int, size: int, large: str, small: str) -> str:
    whole, rest = divmod(count, size)
    return f"{whole:,} {large} {rest} {small}" if rest else f"{whole:,} {large}"
