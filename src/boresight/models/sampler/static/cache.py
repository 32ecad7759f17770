"""Keys and values of the rows of a batch, in tables that are allocated once.

Each row contains its prompt and its own tokens one after the other, so one number per row, its length,
describes it. A prompt that several samples continue is computed once and copied to each of their rows. The
copies cost memory, but with them the shape of a step depends only on the numbers of rows and tokens.

    (rows, kv heads, tokens, d)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from boresight.models.kernels.to_device import to_device
from boresight.models.sampler.kv_cache import Moves, SamplingLayer, dense_moves
from boresight.models.sampler.static.buckets import DecodeBucket

Filled = Sequence[tuple[Tensor, Tensor]]
"""Keys and values of a prefill, one pair per layer."""


@dataclass(frozen=True, slots=True)
class StaticStep:
    """One decoding step of a bucket; `lengths` `(rows,)` is the number of tokens of each row before the new
    one."""

    bucket: DecodeBucket
    lengths: Tensor
    _biases: dict[tuple[int | None, torch.dtype], Tensor] = field(default_factory=dict)

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Return the attention bias, 0 where a row may attend and -inf elsewhere, `(rows, 1, 1, tokens)`.

        A row attends to its tokens up to the new one; with a sliding `window`, only to the last `window` of
        them.
        """
        if (window, dtype) not in self._biases:
            distance = self.lengths[:, None] - torch.arange(self.bucket.tokens, device=self.lengths.device)
            hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
            bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
            self._biases[window, dtype] = bias.masked_fill_(hidden, -torch.inf)[:, None, None]
        return self._biases[window, dtype]


class StaticLayer(SamplingLayer["StaticCache"]):
    """The tables of one model layer in a `StaticCache`."""

    keys: Tensor
    values: Tensor

    def __init__(self, cache: StaticCache) -> None:
        super().__init__(cache)
        self.keys = self.values = torch.empty(0, 0, 0, 0)

    def allocate(self, size: DecodeBucket, keys: Tensor, values: Tensor) -> None:
        """Allocate tables for rows and tokens of `size`; heads, width, dtype and device are those of `keys`
        and `values`."""
        self.keys, self.values = (
            like.new_zeros(size.rows, like.shape[1], size.tokens, like.shape[3]) for like in (keys, values)
        )

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store the new token of every row, `(rows, kv heads, 1, d)`; return all tokens of the bucket."""
        step = self.cache.step
        rows, tokens = step.bucket.rows, step.bucket.tokens
        each = torch.arange(rows, device=step.lengths.device)
        self.keys[each, :, step.lengths] = key_states.squeeze(2)
        self.values[each, :, step.lengths] = value_states.squeeze(2)
        return self.keys[:rows, :, :tokens], self.values[:rows, :, :tokens]


class StaticCache(Cache):
    """A cache with tables for rows and tokens of `size`; the rows in use are the first ones."""

    def __init__(self, layers: int, size: DecodeBucket, device: torch.device) -> None:
        self.tables = [StaticLayer(self) for _ in range(layers)]
        super().__init__(layers=[*self.tables])
        self.size, self.device = size, device
        self.step: StaticStep
        self._rows = 0
        self._prompts: dict[int, tuple[Filled, int]] = {}

    def admit_prompts(self, prompts: Sequence[int], lengths: Sequence[int], filled: Filled) -> None:
        """Keep a prefill, padded on the right, until the rows of its prompts have been added."""
        if not self.tables[0].keys.numel():
            for layer, (keys, values) in zip(self.tables, filled, strict=True):
                layer.allocate(self.size, keys, values)
        self._prompts |= {prompt: (filled, place) for place, prompt in enumerate(prompts)}

    def admit_rows(self, prompts: Sequence[int]) -> None:
        """Append a row for each of `prompts`, with a copy of the prompt's keys and values; prompts must be
        added before.

        Padding of the prefill after a shorter prompt is copied as well, and is masked until the row's own
        tokens replace it.
        """
        batches: dict[int, list[tuple[int, int]]] = {}
        for row, prompt in enumerate(prompts, start=self._rows):
            filled, place = self._prompts[prompt]
            batches.setdefault(id(filled), []).append((row, place))
        states = {id(filled): filled for filled, _ in self._prompts.values()}
        for batch, pairs in batches.items():
            rows, places = to_device(torch.tensor(pairs), self.device).T
            for layer, (keys, values) in zip(self.tables, states[batch], strict=True):
                layer.keys[rows, :, : keys.shape[2]] = keys[places]
                layer.values[rows, :, : values.shape[2]] = values[places]
        self._rows += len(prompts)

    def drop_rows(self, rows: Sequence[int]) -> Moves:
        """Remove `rows`; return the moves that made the remaining ones contiguous."""
        moves = dense_moves(self._rows, rows)
        self._rows -= len(rows)
        if moves:
            source, target = to_device(torch.tensor(moves), self.device).T
            for layer in self.tables:
                layer.keys[target] = layer.keys[source]
                layer.values[target] = layer.values[source]
        return moves

    def drop_prompts(self, retain: set[int]) -> None:
        """Remove all prefills except those of the prompts in `retain`."""
        self._prompts = {prompt: held for prompt, held in self._prompts.items() if prompt in retain}
