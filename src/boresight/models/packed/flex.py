"""Packed attention on CUDA: one FlexAttention kernel with a block mask of the packed layout.

The kernel is compiled with dynamic shapes, since batches differ in length, and each length would cause a
recompilation. A graph is valid for one dtype, number and width of heads, and set of inputs with gradients; a
run needs about five, and several models in one process more than torch's limit of eight. Beyond its limit
torch would continue uncompiled, with the scores of all pairs of tokens in memory, so the limit is raised and
reaching it is an error. The block mask is computed on the host from the offsets of the rows; torch's own
`create_block_mask` would evaluate the rule for every pair of tokens first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from boresight.models.kernels.to_device import to_device
from boresight.models.packed.packing import BLOCK, PackedBatch

P = ParamSpec("P")
R = TypeVar("R")

GRAPHS = 128
"""Limit of compiled variants of a function in one process, if torch's own limit is lower."""

_masks: list[tuple[PackedBatch, BlockMask]] = []


def flex_packed_attention(
    query: Tensor, key: Tensor, value: Tensor, packed: PackedBatch, scaling: float, softcap: float | None
) -> Tensor:
    """Compute the attention of one packed sequence, for `query` `(1, heads, T, d)`.

    The result is `(1, T, heads, d)`.
    """
    kernel: Any = compiled() if query.is_cuda else flex_attention
    out = kernel(
        query,
        key,
        value,
        score_mod=_soft_cap(softcap) if softcap else None,
        block_mask=_mask_of(packed),
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2)


def may_attend(packed: PackedBatch) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Return the attention rule of the layout as a `mask_mod` of FlexAttention: (batch, head, query, key) ->
    bool.

    A query attends to keys of its own row that are not later than itself and belong to the prompt or to its
    own completion.
    """
    row, part = (to_device(array, packed.ids.device) for array in _membership(packed))

    def rule(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (row[q] == row[k]) & (k <= q) & ((part[k] == 0) | (part[k] == part[q]))

    return rule


def block_mask(packed: PackedBatch) -> BlockMask:
    """Return the block mask of the packed layout, which marks blocks of tokens without, with some, and with
    only visible pairs."""
    visible = visible_pairs(packed)
    whole = visible == BLOCK * BLOCK
    arrays = (*_in_order((visible > 0) & ~whole), *_in_order(whole))
    some, some_order, every, every_order = (to_device(array, packed.ids.device) for array in arrays)
    tokens = packed.ids.shape[1]
    return BlockMask.from_kv_blocks(
        some,
        some_order,
        every,
        every_order,
        BLOCK_SIZE=BLOCK,
        mask_mod=may_attend(packed),
        seq_lengths=(tokens, tokens),
    )


def visible_pairs(packed: PackedBatch) -> np.ndarray:
    """Return the number of token pairs that may attend, per block of queries and block of keys,
    `(blocks, blocks)`.

    Every token attends to two ranges of keys, one in its prompt and one in its own completion, both inside
    its row. So for each token, only the few blocks of its row are counted.
    """
    tokens = packed.ids.shape[1]
    blocks = -(-tokens // BLOCK)
    query = np.arange(tokens)
    row, prompt_end, own = _stretches(packed)
    near = row // BLOCK
    reach = int((query // BLOCK - near).max()) + 1
    edges = (near[:, None] + np.arange(reach)) * BLOCK

    def inside(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return (np.minimum(high[:, None], edges + BLOCK) - np.maximum(low[:, None], edges)).clip(0)

    seen = inside(row, np.minimum(query + 1, prompt_end)) + inside(own, query + 1)
    # Nothing is visible past the last block, so entries that wrap into the next line of the table add 0.
    place = (query // BLOCK)[:, None] * blocks + edges // BLOCK
    counts = np.bincount(place.ravel(), seen.ravel(), minlength=blocks**2)[: blocks**2]
    return counts.astype(np.int64).reshape(blocks, blocks)


def _stretches(packed: PackedBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for every token the start of its row, the end of its prompt, and the start of its own
    completion.

    All are `(T,)`. For a token of a prompt, the third is the end of the prompt.
    """
    tokens = packed.ids.shape[1]
    row, prompt_end, own = (np.zeros(tokens, np.int64) for _ in range(3))
    for span in packed.segments:
        row[span.prompt.start : span.end] = span.prompt.start
        prompt_end[span.prompt.start : span.end] = span.prompt.stop
        own[span.prompt] = span.prompt.stop
        for completion in span.completions:
            own[completion] = completion.start
    return row, prompt_end, own


def _in_order(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of marked blocks in each line, and the line's block indices with the marked ones
    first, int32."""
    numbers = dense.sum(1).astype(np.int32)
    order = np.argsort(~dense, axis=1, kind="stable").astype(np.int32)
    return numbers[None, None], order[None, None]


def _membership(packed: PackedBatch) -> tuple[np.ndarray, np.ndarray]:
    """Return for every token the index of its row, and its part of the row: 0 for the prompt, j for the j-th
    completion.

    Both are int32 `(T,)`.
    """
    tokens = packed.ids.shape[1]
    row, part = np.zeros(tokens, np.int32), np.zeros(tokens, np.int32)
    for i, span in enumerate(packed.segments):
        row[span.prompt.start : span.end] = i
        for j, completion in enumerate(span.completions, start=1):
            part[completion] = j
    return row, part


def _mask_of(packed: PackedBatch) -> BlockMask:
    """Return the block mask of a batch; the last one is cached, since all layers of a forward use the same
    mask."""
    if not _masks or _masks[0][0] is not packed:
        _masks[:] = [(packed, block_mask(packed))]
    return _masks[0][1]


@functools.cache
def compiled(backend: str = "inductor") -> Callable[..., Tensor]:
    """Return FlexAttention compiled by `backend`; a call that needs more than `GRAPHS` graphs raises an
    error."""
    # With fullgraph, torch does not fall back to uncompiled code.
    return with_many_graphs(torch.compile(flex_attention, dynamic=True, fullgraph=True, backend=backend))


def with_many_graphs(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a compiled function so that torch may compile it at least `GRAPHS` times, in whatever thread it is
    called.

    In torch 2.13, a limit that is set in one thread does not hold in another.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        _raise_recompile_limit()
        return function(*args, **kwargs)

    return call


def _raise_recompile_limit() -> None:
    config: Any = torch._dynamo.config
    if config.recompile_limit < GRAPHS:
        config.recompile_limit = GRAPHS


@functools.cache
def _soft_cap(cap: float) -> Callable[..., Tensor]:
    def score_mod(score: Tensor, _b: Tensor, _h: Tensor, _q: Tensor, _k: Tensor) -> Tensor:
        return cap * torch.tanh(score / cap)

    return score_mod
