"""Compare the rows of a leaderboard that contains only totals: intervals, and a verdict on every two rows.

Published leaderboards contain the number of prompts won, k of n, and no outcome per prompt. Rows are
therefore compared as independent samples. This has less power than a paired comparison, which would need the
outcome of every prompt.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from boresight.core.errors import UserError
from boresight.stats.intervals import (
    SIGNIFICANCE_LEVEL,
    Interval,
    Unpaired,
    clopper_pearson,
    holm,
    n_to_resolve_shares,
    unpaired_difference,
)
from boresight.stats.units import rounded_up, unit_named

SHARE = unit_named("share")
COLUMNS = ("system", "k", "n")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a leaderboard: k of n prompts won. k may be half-integer, since a tie counts one half."""

    name: str
    k: float
    n: int

    @property
    def share(self) -> Interval:
        """The share k / n with its 95 % interval (Clopper and Pearson)."""
        low, high = clopper_pearson(self.k, self.n)
        return Interval(self.k / self.n, low, high, self.n)


@dataclass(frozen=True, slots=True)
class EntryPair:
    """Comparison of two rows. `p` is the p-value of `found`, adjusted for all pairs by Holm's method."""

    better: Entry
    worse: Entry
    found: Unpaired
    p: float

    @property
    def resolved(self) -> bool:
        """Whether the difference is significant after Holm's adjustment."""
        return self.p < SIGNIFICANCE_LEVEL

    @property
    def needed(self) -> int | None:
        """Number of prompts per row with which these shares would differ significantly with 80 % power.

        The number is rounded up to two significant digits, and does not consider the adjustment for several
        pairs. None if the shares are equal.
        """
        a, b = (entry.k / entry.n for entry in (self.worse, self.better))
        return None if a == b else rounded_up(n_to_resolve_shares(a, b))

    @property
    def sentence(self) -> str:
        """The difference, its test, and whether it is significant, as one sentence."""
        numbers = SHARE.lead(self.found.difference)
        test = f"z = {self.found.z:.2f}, p = {self.found.p:.2g}, {self.p:.2g} after Holm's adjustment"
        names = f"{self.better.name} over {self.worse.name}"
        if self.resolved:
            return f"{names}: {numbers}, {test}: significant."
        return f"{names}: {numbers}, {test}: not significant, {self.more}."

    @property
    def more(self) -> str:
        """The number of prompts needed for a significant difference, as text."""
        return "the scores are equal" if self.needed is None else f"needs about {self.needed:,} prompts each"


def read_leaderboard(path: Path) -> list[Entry]:
    """Read a CSV file with the columns system, k and n, and return its rows, the largest share first.

    Lines that begin with # are comments.

    Raises:
        UserError: no such file, no valid CSV in UTF-8, fewer than two rows, a system with two rows, a missing
            column, or numbers that do not form a share.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give a CSV of system, k and n.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save the table as UTF-8.") from None
    except csv.Error as error:
        raise UserError(f"{path}: is not a whole CSV file ({error}); quote its cells.") from None
    entries = [_entry(row, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: {twice} occurs twice; give each system one row.")
    if len(entries) < 2:
        raise UserError(f"{path}: a comparison needs two rows or more, and there are {len(entries)}.")
    return sorted(entries, key=lambda e: -e.k / e.n)


def pairs(entries: Sequence[Entry]) -> list[EntryPair]:
    """Compare every two rows. Pairs, and the rows of each pair, are sorted by share, the largest first."""
    both = list(combinations(sorted(entries, key=lambda e: -e.k / e.n), 2))
    found = [unpaired_difference(worse.k, worse.n, better.k, better.n) for better, worse in both]
    adjusted = holm([one.p for one in found])
    return [EntryPair(*two, one, p) for two, one, p in zip(both, found, adjusted, strict=True)]


def against_bar(entry: Entry, bar: float) -> str:
    """Return a sentence that compares the share of a row with the threshold `bar`, a share in [0, 1]."""
    share, wanted = entry.share, math.ceil(round(bar * entry.n, 9))
    short = wanted - entry.k
    where = f"{short:g} short of" if short > 0 else "at or above"
    lead = f"{entry.name}: {entry.k:g} of {entry.n:,} is {where} the {wanted:,} that the bar asks for"
    limits = SHARE.limits(share)
    if share.low <= bar <= share.high:
        return f"{lead}; not significant, the bar lies inside {limits}."
    return f"{lead}; significant, the bar lies outside {limits}."


def _entry(row: dict[str, str], where: str) -> Entry:
    for column in COLUMNS:
        if not (row.get(column) or "").strip():
            raise UserError(f"{where}: the column {column} is missing; the columns are system, k and n.")
    try:
        k, n = float(row["k"]), int(row["n"])
    except ValueError:
        raise UserError(f"{where}: k is {row['k']!r} and n {row['n']!r}; give numbers.") from None
    if not (2 * k).is_integer():
        raise UserError(f"{where}: k is {row['k']}; give the number of prompts won, where a tie is a half.")
    if n <= 0 or not 0 <= k <= n:
        raise UserError(f"{where}: {row['k']} of {row['n']} is not a share; k lies between 0 and n.")
    return Entry(row["system"].strip(), k, n)
