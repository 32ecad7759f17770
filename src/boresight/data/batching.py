"""Choose the rows of each training step, and divide them into micro-batches.

Both are pure functions of their arguments, so a run that resumes at step s needs no state but s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from boresight.data.rows import Row, with_prompt_numbers


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Assigns rows to batches.

    `rows` is the number of rows, `batch` the number of rows per batch, and `total` the number of row visits:
    rows over all steps, repetitions included.

    Every epoch is a new permutation of the rows, seeded by `(seed, epoch)`. A batch may contain rows of two
    epochs, so only the last batch can be smaller than `batch`.
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
        """Return the row indices of batch `step`, `0 <= step < steps`."""
        start, stop = step * self.batch, min((step + 1) * self.batch, self.total)
        if not 0 <= start < stop:
            raise IndexError(step)
        return [int(self._order(visit // self.rows)[visit % self.rows]) for visit in range(start, stop)]

    def used(self) -> np.ndarray:
        """Return every row index that occurs in any batch, in ascending order, as int64."""
        if self.total >= self.rows:
            return np.arange(self.rows)
        return np.sort(self._order(0)[: self.total])

    def _order(self, epoch: int) -> np.ndarray:
        return _permutation(self.rows, self.seed, epoch)


@lru_cache(maxsize=2)
def _permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the rows in an epoch; cached, because it is read for every row of a batch."""
    order = np.random.default_rng((seed, epoch)).permutation(rows)
    order.flags.writeable = False
    return order


def plan(rows: int, batch: int, *, epochs: float | None, steps: int | None, seed: int) -> BatchPlan:
    """Return a `BatchPlan` of `steps` full batches, or of `epochs` passes over the rows (default: one)."""
    total = steps * batch if steps else max(1, round(rows * (epochs or 1)))
    return BatchPlan(rows=rows, batch=batch, total=total, seed=seed)


REPEATED = 4
"""Maximum number of tokens of a micro-batch without shared prompts, as a multiple of the token limit.

The limit counts a prompt that several rows share once. A forward pass without packing computes it with every
completion, so the tokens of the rows, each with its own prompt, are limited too.
"""


@dataclass(frozen=True, slots=True)
class PromptLengths:
    """Lengths of rows: three int64 arrays `(rows,)`.

    They contain the number of tokens of each prompt, the number of tokens of all its completions, and a
    number that identifies the prompt. Equal prompts have equal numbers, assigned in the order in which the
    prompts first appear.
    """

    prompt: np.ndarray
    completions: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[Row]) -> PromptLengths:
        """Compute the lengths of `rows`; each row is read once."""
        lines = [
            (len(row.prompt), row.tokens - len(row.prompt), number)
            for row, number in with_prompt_numbers(rows)
        ]
        return cls(*np.array(lines, dtype=np.int64).reshape(-1, 3).T)


def micro_batches(rows: Sequence[Row], max_tokens: int) -> list[list[Row]]:
    """Divide rows into micro-batches of at most `max_tokens` packed tokens, as `within_budget` does."""
    return [[rows[place] for place in places] for places in within_budget(PromptLengths.of(rows), max_tokens)]


def within_budget(rows: PromptLengths, max_tokens: int) -> Iterator[list[int]]:
    """Divide rows, longest first, into groups of at most `max_tokens` packed tokens.

    Yields the row indices of each group. Rows with the same prompt are kept next to each other; their prompt
    counts once per group, since it is computed once. A row that exceeds the limit is a group by itself.
    Sorting puts rows of similar length into one group, which reduces padding in the padded layout, and makes
    the first allocation the largest.
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
    """Return the indices of all rows, longest first.

    Prompts are sorted by the length of their longest row, then the rows of a prompt by their length; ties
    keep their order.
    """
    tokens = rows.prompt + rows.completions
    longest = np.zeros(len(tokens), np.int64)
    np.maximum.at(longest, rows.number, tokens)
    return np.lexsort((-tokens, rows.number, -longest[rows.number]))
