"""The rows of each step, and how a step is cut into forwards.

Both are pure functions of their arguments, so resuming at step s needs nothing but s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

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

    def used(self) -> np.ndarray:
        """Every row index that any batch contains, ascending, int64."""
        if self.total >= self.rows:
            return np.arange(self.rows)
        return np.sort(self._order(0)[: self.total])

    def _order(self, epoch: int) -> np.ndarray:
        return _permutation(self.rows, self.seed, epoch)


@lru_cache(maxsize=2)
def _permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    """Order of an epoch; kept, since every visit of a row asks for it."""
    order = np.random.default_rng((seed, epoch)).permutation(rows)
    order.flags.writeable = False
    return order


def plan(rows: int, batch: int, *, epochs: float | None, steps: int | None, seed: int) -> BatchPlan:
    """A plan of `steps` full batches, or of `epochs` passes (one when neither is given)."""
    total = steps * batch if steps else max(1, round(rows * (epochs or 1)))
    return BatchPlan(rows=rows, batch=batch, total=total, seed=seed)


def micro_batches(rows: Sequence[Row], max_tokens: int) -> list[list[Row]]:
    """Cut rows into groups as `within_budget` does."""
    lengths = np.array([row.tokens for row in rows], dtype=np.int64)
    return [[rows[place] for place in places] for places in within_budget(lengths, max_tokens)]


def within_budget(lengths: np.ndarray, max_tokens: int) -> Iterator[list[int]]:
    """Cut rows of `lengths` tokens, longest first, into groups of at most `max_tokens` packed tokens.

    Yields the places of a group's rows. A row longer than the budget is a group of its own. Sorting keeps
    groups of like lengths, which costs the padded path less and lets the largest allocation come first.
    """
    group: list[int] = []
    room = max_tokens
    for place in map(int, np.argsort(-lengths, kind="stable")):
        length = int(lengths[place])
        if group and length > room:
            yield group
            group, room = [], max_tokens
        group.append(place)
        room -= length
    if group:
        yield group
