"""Packed attention on CUDA: one FlexAttention kernel over a block mask of the packed layout.

Compiled once with dynamic shapes, since every batch has its own length and a static compilation
would start again for each of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from boresight.models.packing import PackedBatch

_masks: list[tuple[PackedBatch, BlockMask]] = []


def flex_packed_attention(
    query: Tensor, key: Tensor, value: Tensor, packed: PackedBatch, scaling: float, softcap: float | None
) -> Tensor:
    """Attention of one packed sequence; query `(1, heads, T, d)`, result `(1, T, heads, d)`."""
    kernel: Any = _compiled() if query.is_cuda else flex_attention
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


def may_attend(packed: PackedBatch) -> Callable[[Any, Any, Any, Any], Tensor]:
    """The rule of the layout as FlexAttention wants it: (batch, head, query, key) -> bool.

    A query sees keys of its own row, not later than itself, of the prompt or of its own completion.
    """
    row, part = (t.to(packed.ids.device) for t in _membership(packed))

    def rule(_batch: Any, _head: Any, q: Any, k: Any) -> Tensor:
        return (row[q] == row[k]) & (k <= q) & ((part[k] == 0) | (part[k] == part[q]))

    return rule


def _membership(packed: PackedBatch) -> tuple[Tensor, Tensor]:
    """Of every token its row, and its part of the row: 0 the prompt, j the j-th completion; `(T,)`."""
    tokens = packed.ids.shape[1]
    row, part = torch.zeros(tokens, dtype=torch.int32), torch.zeros(tokens, dtype=torch.int32)
    for i, span in enumerate(packed.spans):
        row[span.prompt.start : span.end] = i
        for j, completion in enumerate(span.completions, start=1):
            part[completion] = j
    return row, part


def _mask_of(packed: PackedBatch) -> BlockMask:
    """The block mask of a batch; every layer of a forward asks for the same one, so the last is kept."""
    if not _masks or _masks[0][0] is not packed:
        tokens = packed.ids.shape[1]
        mask = create_block_mask(may_attend(packed), None, None, tokens, tokens, device=packed.ids.device)
        _masks[:] = [(packed, mask)]
    return _masks[0][1]


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(flex_attention, dynamic=True)


@functools.cache
def _soft_cap(cap: float) -> Callable[..., Tensor]:
    def score_mod(score: Tensor, _b: Any, _h: Any, _q: Any, _k: Any) -> Tensor:
        return cap * torch.tanh(score / cap)

    return score_mod
