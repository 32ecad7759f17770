"""Keys and values of many sequences that continue few prompts.

A prompt's keys and values are stored once, however many samples continue it; each sample has a row with those
of its own tokens. Prompts and rows are stored without gaps: when one is removed, the last one is moved into
its place, so that a decoding step reads only rows in use. The capacity for tokens grows in small steps,
because reading rows with gaps costs more than the rare copy.

    prompt part   (prompts, kv heads, tokens, d)
    own part      (rows, kv heads, tokens, d)
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from boresight.models.kernels.to_device import to_device

TOKEN_STEP = 16

C = TypeVar("C", bound=Cache)
Moves = list[tuple[int, int]]
"""Pairs (from, to) of indices of rows or prompts that were moved."""


class KeyValues:
    """A growing table of keys and one of values, `(places, kv heads, tokens, d)`.

    New entries are zero: an attention weight of zero times an uninitialized NaN would be NaN.
    """

    def __init__(self) -> None:
        self.keys = self.values = torch.empty(0, 0, 0, 0)

    def reserve(self, places: int, tokens: int, keys: Tensor, values: Tensor) -> None:
        """Grow to at least `places` and `tokens`; heads, width, dtype and device are those of `keys` and
        `values`."""
        have_places, _, have_tokens, _ = self.keys.shape
        if places <= have_places and tokens <= have_tokens:
            return
        places, tokens = max(places, have_places), max(-(-tokens // TOKEN_STEP) * TOKEN_STEP, have_tokens)
        self.keys = _enlarged(self.keys, keys, places, tokens)
        self.values = _enlarged(self.values, values, places, tokens)

    def move(self, moves: Tensor) -> None:
        """Copy entries between places; `moves` is `(moves, 2)`, with source and target."""
        source, target = moves.T
        self.keys[target] = self.keys[source]
        self.values[target] = self.values[source]


class SamplingLayer(CacheLayerMixin, Generic[C]):
    """A cache layer whose tables only `update` writes, for an attention that creates its own masks.

    It has only a weak reference to its cache. In a reference cycle, the tables would outlive the rollout
    until Python's cycle collector runs, and a GPU that runs out of memory does not trigger it.
    """

    def __init__(self, cache: C) -> None:
        super().__init__()
        self._cache = weakref.ref(cache)

    @property
    def cache(self) -> C:
        """The cache that contains this layer; it exists during a forward."""
        cache = self._cache()
        assert cache is not None
        return cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: tables are created when prompts are admitted, or grow when they are written."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        raise NotImplementedError("attention while sampling makes its own masks")

    def get_seq_length(self) -> int:
        raise NotImplementedError("rows differ in length; positions are given with every step")

    def get_max_length(self) -> int:
        return -1


class RolloutLayer(SamplingLayer["RolloutCache"]):
    """The tables of one model layer in a `RolloutCache`."""

    def __init__(self, cache: RolloutCache) -> None:
        super().__init__(cache)
        self.prompts = KeyValues()
        self.own = KeyValues()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store the new token of every row, `(rows, kv heads, 1, d)`; return the keys and values of the rows'
        own tokens."""
        step, own = self.cache.step, self.own
        n = len(key_states)
        own.reserve(n, step.tokens, key_states, value_states)
        own.keys[step.rows, :, step.lengths] = key_states.squeeze(2)
        own.values[step.rows, :, step.lengths] = value_states.squeeze(2)
        return own.keys[:n, :, : step.tokens], own.values[:n, :, : step.tokens]


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """Data of one decoding step of n rows, shared by all layers.

    `lengths` `(n,)` is the number of each row's own tokens before this step, and `tokens` is the maximum of
    these numbers with the new token. `prompt_lengths` `(n,)` and `prompt_tokens` are the corresponding
    numbers for the prompts. The rows of a prompt are not contiguous; to attend to the prompts they are
    gathered into a grid of `prompts` by `width` cells. `cell_row` `(prompts * width,)` is the row of each
    cell (any row, for an empty cell), `row_cell` `(n,)` the cell of each row. Both are None if rows are in
    the order of the grid.
    """

    rows: Tensor
    lengths: Tensor
    prompt_lengths: Tensor
    tokens: int
    prompt_tokens: int
    prompts: int
    width: int
    cell_row: Tensor | None
    row_cell: Tensor | None
    _biases: dict[tuple[int | None, torch.dtype], Tensor] = field(default_factory=dict)

    @property
    def positions(self) -> Tensor:
        """Position of each row's new token, `(n, 1)`."""
        return (self.prompt_lengths + self.lengths).unsqueeze(1)

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Return the attention bias, 0 where a row may attend and -inf elsewhere,
        `(n, 1, 1, prompt_tokens + tokens)`.

        A row attends to its prompt and its own tokens up to the new one; with a sliding `window`, only to the
        last `window` of them.
        """
        if (window, dtype) not in self._biases:
            prompt = torch.arange(self.prompt_tokens, device=self.rows.device)
            own = torch.arange(self.tokens, device=self.rows.device)
            prompt_length, length = self.prompt_lengths.unsqueeze(1), self.lengths.unsqueeze(1)
            seen_prompt, seen_own = prompt < prompt_length, own <= length
            if window is not None:
                seen_prompt &= prompt_length + length - prompt < window
                seen_own &= length - own < window
            hidden = ~torch.cat([seen_prompt, seen_own], dim=1)
            bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
            self._biases[window, dtype] = bias.masked_fill_(hidden, -torch.inf)[:, None, None]
        return self._biases[window, dtype]


class RolloutCache(Cache):
    """Keys and values of the live rows and of the prompts that they continue.

    Prompts are identified by caller-chosen ids and evicted when no row continues them and the caller does not
    retain them.
    """

    def __init__(self, layers: int, device: torch.device) -> None:
        self.tables = [RolloutLayer(self) for _ in range(layers)]
        super().__init__(layers=[*self.tables])
        self.device = device
        self.step: DecodeStep
        self._row_prompt: list[int] = []
        self._row_length: list[int] = []
        self._prompts: list[int] = []
        self._prompt_length: list[int] = []
        self._grid: tuple[int, Tensor | None, Tensor | None] | None = None

    def admit_prompts(
        self, prompts: Sequence[int], lengths: Sequence[int], filled: Sequence[tuple[Tensor, Tensor]]
    ) -> None:
        """Add prompts after a prefill.

        Args:
            filled: keys and values of each layer, padded on the right to the longest prompt.
        """
        new, longest = slice(len(self._prompts), len(self._prompts) + len(prompts)), max(lengths)
        self._prompts += prompts
        self._prompt_length += lengths
        for layer, (keys, values) in zip(self.tables, filled, strict=True):
            layer.prompts.reserve(new.stop, longest, keys, values)
            layer.prompts.keys[new, :, :longest] = keys
            layer.prompts.values[new, :, :longest] = values
        self._grid = None

    def admit_rows(self, prompts: Sequence[int]) -> None:
        """Append an empty row for each of `prompts`, which must have been added before."""
        self._row_prompt += prompts
        self._row_length += [0] * len(prompts)
        self._grid = None

    def drop_rows(self, rows: Sequence[int]) -> Moves:
        """Remove `rows`; returns the moves that made the remaining ones contiguous."""
        moves = dense_moves(len(self._row_prompt), rows)
        self._apply(moves, [layer.own for layer in self.tables])
        for numbers in (self._row_prompt, self._row_length):
            _compact(numbers, moves, len(rows))
        self._grid = None
        return moves

    def drop_prompts(self, retain: set[int]) -> None:
        """Remove prompts that no row continues, except those in `retain`."""
        alive = retain | set(self._row_prompt)
        idle = [place for place, prompt in enumerate(self._prompts) if prompt not in alive]
        if not idle:
            return
        moves = dense_moves(len(self._prompts), idle)
        self._apply(moves, [layer.prompts for layer in self.tables])
        for numbers in (self._prompts, self._prompt_length):
            _compact(numbers, moves, len(idle))
        self._grid = None

    def begin_step(self) -> DecodeStep:
        """Begin a decoding step of one token for every row; return its data for the layers."""
        place = {prompt: i for i, prompt in enumerate(self._prompts)}
        places = [place[prompt] for prompt in self._row_prompt]
        if self._grid is None:
            self._grid = self._lay_grid(np.array(places))
        width, cell_row, row_cell = self._grid
        counts = np.array([self._row_length, [self._prompt_length[i] for i in places]])
        lengths, prompt_lengths = to_device(counts, self.device)
        self.step = DecodeStep(
            rows=torch.arange(len(places), device=self.device),
            lengths=lengths,
            prompt_lengths=prompt_lengths,
            tokens=max(self._row_length) + 1,
            prompt_tokens=max(self._prompt_length),
            prompts=len(self._prompts),
            width=width,
            cell_row=cell_row,
            row_cell=row_cell,
        )
        self._row_length = [length + 1 for length in self._row_length]
        return self.step

    def _lay_grid(self, places: np.ndarray) -> tuple[int, Tensor | None, Tensor | None]:
        """Return the width of the grid, the row of each cell, and the cell of each row; `places` has each
        row's prompt."""
        counts = np.bincount(places, minlength=len(self._prompts))
        width = int(counts.max())
        order = np.argsort(places, kind="stable")
        first = np.cumsum(counts) - counts
        cells = np.empty(len(places), np.int64)
        cells[order] = places[order] * width + np.arange(len(places)) - first[places[order]]
        rows = np.zeros(len(self._prompts) * width, np.int64)
        rows[cells] = np.arange(len(places))
        if len(rows) == len(cells) and (cells == np.arange(len(cells))).all():
            return width, None, None
        return width, to_device(rows, self.device), to_device(cells, self.device)

    def _apply(self, moves: Moves, tables: Sequence[KeyValues]) -> None:
        if moves:
            steps = to_device(torch.tensor(moves), self.device)
            for table in tables:
                if table.keys.numel():  # rows that ended with their first token own nothing yet
                    table.move(steps)


def dense_moves(size: int, gone: Sequence[int]) -> Moves:
    """Return the moves that fill the gaps when the indices `gone` of `size` are removed."""
    holes, left = set(gone), size - len(gone)
    survivors = [place for place in range(left, size) if place not in holes]
    return list(zip(survivors, sorted(hole for hole in holes if hole < left), strict=True))


def _compact(numbers: list[int], moves: Moves, gone: int) -> None:
    for source, target in moves:
        numbers[target] = numbers[source]
    del numbers[len(numbers) - gone :]


def _enlarged(old: Tensor, like: Tensor, places: int, tokens: int) -> Tensor:
    larger = like.new_zeros(places, like.shape[1], tokens, like.shape[3])
    if old.numel():
        larger[: old.shape[0], :, : old.shape[2]] = old
    return larger
