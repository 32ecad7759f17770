"""How often two judges agree on the same items, and how much of it is chance."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from boresight.core.errors import UserError
from boresight.stats.intervals import Interval, share_interval


@dataclass(frozen=True)
class Agreement:
    """How often two judges agree, raw and beyond chance; kappa is None when both gave one same label."""

    accuracy: Interval
    kappa: float | None


def agreement(a: Sequence[Hashable | None], b: Sequence[Hashable | None]) -> Agreement:
    """Agreement of two judges' labels, item by item: share that agree and Cohen's kappa.

        kappa = (observed - chance) / (1 - chance), chance = Σ over labels of p_a(label) p_b(label)

    Cohen 1960. Items without a label (None) from either judge are missing.
    """
    if len(a) != len(b):
        raise ValueError(f"agreement needs one label of each judge per item, got {len(a)} and {len(b)}")
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not pairs:
        raise UserError(f"There is nothing to compare: all {len(a)} labels are missing.")
    same = share_interval([x == y for x, y in pairs])
    labels = {label for pair in pairs for label in pair}
    chance = (
        sum(sum(x == label for x, _ in pairs) * sum(y == label for _, y in pairs) for label in labels)
        / len(pairs) ** 2
    )
    kappa = None if chance == 1 else (same.value - chance) / (1 - chance)
    return Agreement(Interval(same.value, same.low, same.high, same.n, len(a) - len(pairs)), kappa)
