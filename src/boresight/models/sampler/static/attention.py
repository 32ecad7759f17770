"""Attention of a decode step over tables of fixed size, registered with transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from boresight.models.sampler.attention import prefill_attention, refuse_unhandled, soft_cap, wide_softmax
from boresight.models.sampler.static.cache import StaticCache

STATIC = "boresight_static"


def attend_static(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    sliding_window: int | None = None,
    rollout: StaticCache | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute attention as transformers' registered function: for a prefill without `rollout`, else for a
    decoding step.

    `query` is `(rows, heads, tokens, d)`, and the result is `(rows, tokens, heads, d)`.
    """
    refuse_unhandled(attention_mask, kwargs)
    if rollout is None:
        return prefill_attention(query, key, value, scaling, softcap, sliding_window), None
    bias = rollout.step.bias(sliding_window, query.dtype)
    return step_attention(query, key, value, bias, scaling, softcap), None


def step_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scaling: float, softcap: float | None
) -> Tensor:
    """Compute the attention of one new token per row.

    `query` is `(n, heads, 1, d)`, and the result is `(n, 1, heads, d)`. `key` and `value` are
    `(n, kv heads, tokens, d)`, and `bias` is `(n, 1, 1, tokens)`.

    Query heads that share a kv head are rows of one product, so that keys are not repeated in memory.
    """
    n, heads, _, d = query.shape
    shared = key.shape[1]
    q = (query * scaling).view(n * shared, heads // shared, d)
    scores = torch.bmm(q, key.flatten(0, 1).mT).view(n, shared, heads // shared, -1)
    weights = wide_softmax(soft_cap(scores, softcap) + bias)
    return torch.bmm(weights.flatten(0, 1), value.flatten(0, 1)).view(n, 1, heads, -1)


AttentionInterface.register(STATIC, attend_static)
