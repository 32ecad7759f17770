"""The rows of each step, and how a step is divided into micro-batches.

Both are pure functions of their arguments, so a run resumes at step s from s alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from boresight.data.rows import Row, with_prompt_numbers


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Order of `rows` rows over `total` row visits (rows over all steps, with repetitions) in batches of
    `batch`.

    Every epoch is a fresh permutation seeded by `(seed, epoch)`. A batch may contain rows of two epochs, so
    only the last one can be short.
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
    """A `BatchPlan` of `steps` full batches, or of `epochs` passes (one when neither is given)."""
    total = steps * batch if steps else max(1, round(rows * (epochs or 1)))
    return BatchPlan(rows=rows, batch=batch, total=total, seed=seed)


REPEATED = 4
"""A forward that is not packed computes the prompt with every answer. So the rows of one forward, each
with its own prompt, have at most this many times the tokens that the forward may hold."""


@dataclass(frozen=True, slots=True)
class PromptLengths:
    """Per row, int64 `(n,)` each: tokens of the prompt, tokens of all completions, and a number that
    identifies the prompt.

    Equal prompts have equal numbers, counted in the order in which they first appear.
    """

    prompt: np.ndarray
    completions: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[Row]) -> PromptLengths:
        """Lengths of `rows`; each row is read once."""
        lines = [
            (len(row.prompt), row.tokens - len(row.prompt), number)
            for row, number in with_prompt_numbers(rows)
        ]
        return cls(*np.array(lines, dtype=np.int64).reshape(-1, 3).T)


def micro_batches(rows: Sequence[Row], max_tokens: int) -> list[list[Row]]:
    """Divide rows into micro-batches as `within_budget` does."""
    return [[rows[place] for place in places] for places in within_budget(PromptLengths.of(rows), max_tokens)]


def within_budget(rows: PromptLengths, max_tokens: int) -> Iterator[list[int]]:
    """Divide rows, longest first, into groups of at most `max_tokens` packed tokens.

    Yields the indices of each group's rows. Rows with the same prompt follow the longest of them; their
    prompt counts once per group, since it is computed once. A row longer than the budget is a group of its
    own. Sorting groups rows of similar length, which reduces padding in the padded layout, and makes the
    first allocation the largest.
    """
    group: list[int] = []
    room, unshared = max_tokens, REPEATED * max_tokens
    before = -1
    for place in map(int, _longest_first(rows)):
        whole = int(rows.prompt[place] + rows.completions[place])
        own = int(rows.completions[place]) if rows.number[place] == before else whole
        if group and (own > room or whole > unshared):
            yield group
            group, room, unshared, own = [], max_tokens, REPEATED * max_tokens, whole
        group.append(place)
        room, unshared, before = room - own, unshared - whole, int(rows.number[place])
    if group:
        yield group


def _longest_first(rows: PromptLengths) -> np.ndarray:
    """Places of all rows: prompts by the length of their longest row, then rows by length, then in order."""
    tokens = rows.prompt + rows.completions
    longest = np.zeros(len(tokens), np.int64)
    np.maximum.at(longest, rows.number, tokens)
    return np.lexsort((-tokens, rows.number, -longest[rows.number]))
