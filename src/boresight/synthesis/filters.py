"""Count dropped items by reason, with examples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from boresight.core.errors import terminal_safe

SHOWN = 5
LONGEST = 160


@dataclass
class Sieve:
    """Counts of dropped items by reason, with the first few examples of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def drop(self, reason: str, example: str) -> None:
        """Count a dropped item, and keep it as an example if there are few for its reason."""
        self.counts[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < SHOWN:
            line = terminal_safe(" ".join(example.split()))
            shown.append(line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…")

    def say(self) -> str:
        """Format the counts, for instance as `12 copies, 3 overlap with held-out data`."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.counts.most_common())
