"""Flash attention over sequences of different lengths that are stored end to end, by torch's own operators.

`torch.nn.attention.varlen.varlen_attn` (torch 2.10) wraps the same operators, but its backward uses the
output and the log-sum-exp of its own forward. An attention that is joined from two calls needs the joint
ones, so the operators are called directly. They exist only on CUDA, in bfloat16 and float16. Several query
heads may share a head of keys and values, which is not copied.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Gradients = tuple[Tensor, Tensor, Tensor]
"""Gradients of queries, keys and values."""
MULTIPLE, WIDEST = 8, 256
"""Supported widths of a head: multiples of 8, up to 256."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences stored end to end.

    Attributes:
        bounds: 0 and the end of each of the n sequences, int32 `(n + 1,)`, on the tensors' device.
        longest: upper bound of the number of tokens in a sequence.
    """

    bounds: Tensor
    longest: int


def varlen_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries: Sequences,
    keys: Sequences,
    *,
    causal: bool,
    scaling: float,
) -> tuple[Tensor, Tensor]:
    """Compute the attention of each sequence of queries over the sequence of keys with the same index.

    Args:
        query: `(Tq, heads, d)`; `key` and `value` are `(Tk, groups, d)`.

    Returns:
        The output `(Tq, heads, d)`, contiguous, and the log-sum-exp of the scaled scores, float32
        `(heads, Tq)`.
    """
    out, lse, *_ = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        queries.bounds,
        keys.bounds,
        queries.longest,
        keys.longest,
        0.0,  # dropout
        causal,
        False,  # no debug mask
        scale=scaling,
    )
    return out.contiguous(), lse  # if queries are not contiguous by token, neither is `out`


def varlen_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    queries: Sequences,
    keys: Sequences,
    *,
    causal: bool,
    scaling: float,
) -> Gradients:
    """Return the contribution of these keys to the gradients of queries, keys and values.

    `out` and `lse` may be those of a softmax over these and further keys. `grad`, `out` and `lse`
    `(heads, Tq)` are contiguous.
    """
    # Without dropout the generator's state is passed and not used.
    state = torch.empty(2, dtype=torch.uint64, device=query.device)
    d_query, d_key, d_value = torch.ops.aten._flash_attention_backward(
        grad,
        query,
        key,
        value,
        out,
        lse,
        queries.bounds,
        keys.bounds,
        queries.longest,
        keys.longest,
        0.0,  # dropout
        causal,
        state,
        torch.empty(0, dtype=torch.uint64, device=query.device),
        scale=scaling,
    )
    return d_query, d_key, d_value
