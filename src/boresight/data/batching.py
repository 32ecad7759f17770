"""Which rows a step sees, and how a step is cut into forwards.

Both are pure functions of their arguments, so resuming at step s needs nothing but s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boresight.data.rows import Row


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Order of `rows` rows over `total` row visits in batches of `batch`.

    Every epoch is a fresh permutation seeded by `(seed, epoch)`. Batches run across epoch ends, so
    only the very last one can be short.
    """

    rows: int
    batch: int
    total: int
    seed: int

    @property
    def steps(self) -> int:
        """Number of batches."""
        return -(-self.total // self.batch)

    def indices(self, step: int) -> list[int]:
        """Row indices of batch `step`, `0 <= step < steps`."""
        start, stop = step * self.batch, min((step + 1) * self.batch, self.total)
        if not 0 <= start < stop:
            raise IndexError(step)
        return [int(self._order(visit // self.rows)[visit % self.rows]) for visit in range(start, stop)]

    def used(self) -> list[int]:
        """Every row index that any batch contains, ascending."""
        if self.total >= self.rows:
            return list(range(self.rows))
        return sorted({i for step in range(self.steps) for i in self.indices(step)})

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(self.rows)


def plan(rows: int, batch: int, *, epochs: float | None, steps: int | None, seed: int) -> BatchPlan:
    """A plan of `steps` full batches, or of `epochs` passes (one when neither is given)."""
    total = steps * batch if steps else max(1, round(rows * (epochs or 1)))
    return BatchPlan(rows=rows, batch=batch, total=total, seed=seed)


def micro_batches(rows: Sequence[Row], max_tokens: int) -> list[list[Row]]:
    """Cut rows, longest first, into groups of at most `max_tokens` packed tokens.

    A row longer than the budget is a group of its own. Sorting keeps groups of like lengths, which
    costs the padded path less and lets the largest allocation come first.
    """
    groups: list[list[Row]] = []
    room = 0
    for row in sorted(rows, key=lambda row: -row.tokens):
        if row.tokens > room:
            groups.append([])
            room = max_tokens
        groups[-1].append(row)
        room -= row.tokens
    return groups
