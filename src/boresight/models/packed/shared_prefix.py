"""Attention over a packed sequence by two calls of flash attention and no mask (`model.kernels: fast`).

A token of a completion attends to its row's prompt and to its own completion up to itself. The softmax over
both is combined from two calls, each over sequences of various lengths: a causal one within every prompt and
within every completion, and one with the completions' queries, row by row, over the prompts' keys. Their
outputs are weighted by their log-sum-exp, the identity that flash attention uses between blocks (Dao et al.
2022, arXiv 2205.14135, section 3.1). The gradient of a softmax depends only on its output and its
log-sum-exp, so the backward of each call, given the joint ones, is the exact contribution of its keys.

The kernels require sequences to be contiguous. So the tokens of all rows are in this order, and both operands
of the second call are slices, which are not copied:

    [prompts of rows with completions | their completions, row by row | other prompts | filler]

The prompt of a row whose completions are all empty is not part of the second call, and no sequence of either
call is empty. Attention alone depends on the order of tokens: positions are explicit. A kernel cuts each
sequence into blocks from its own first token, so the result of a row does not depend on its position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from boresight.models.kernels.to_device import to_device
from boresight.models.packed import varlen_flash
from boresight.models.packed.varlen_flash import Gradients, Sequences
from boresight.models.precision import at_least_float32

RowLengths = Sequence[Sequence[int]]
"""Numbers of tokens of the parts of every row, `[prompt, y1, …, yk]`."""
ROUNDED_TO = 128
"""The length of the longest sequence is rounded up to a multiple of this number of tokens, the kernels'
block.

For sequences of a single token the kernels would use another path.
"""


class CallTensors(NamedTuple):
    """The content of `PrefixCalls` as tensors, for custom operators."""

    bounds: Tensor
    """Bounds of segments, heads and tails, one after the other, int32 `(n,)` on the device."""
    numbers: Tensor
    """Numbers of bounds of segments, heads and tails, their maximum lengths, and the numbers of tokens of
    heads and tails; int64 `(8,)` on the host."""


@dataclass(frozen=True, slots=True)
class PrefixCalls:
    """The sequences of both attention calls in a packed sequence of T tokens."""

    segments: Sequences
    """Every prompt, completion and span of padding: all T tokens."""
    heads: Sequences
    """Prompts of rows with completions, which come first in the packed sequence."""
    tails: Sequences
    """Completions of each of these rows as one sequence, right after the prompts."""
    head_tokens: int
    """Number of tokens in all `heads`."""
    tail_tokens: int
    """Number of tokens in all `tails`; 0 if all completions are empty, in which case there is only one
    call."""
    tensors: CallTensors
    """The same content as tensors, for custom operators."""

    @classmethod
    def read(cls, bounds: Tensor, numbers: Tensor) -> PrefixCalls:
        """Build from the content of `CallTensors`. It does not synchronize, since `numbers` is on the
        host."""
        *counts, head_tokens, tail_tokens = numbers.tolist()
        sizes, longest = counts[:3], counts[3:]
        segments, heads, tails = map(Sequences, bounds.split(sizes), longest)
        return cls(segments, heads, tails, head_tokens, tail_tokens, CallTensors(bounds, numbers))

    def of_heads(self, x: Tensor) -> Tensor:
        """Return the part of `x` `(T, …)` that belongs to `heads`, as a view."""
        return x.narrow(0, 0, self.head_tokens)

    def of_tails(self, x: Tensor, dim: int = 0) -> Tensor:
        """Return the part of `x`, with T entries in dimension `dim`, that belongs to `tails`, as a view."""
        return x.narrow(dim, self.head_tokens, self.tail_tokens)


def prompts_first(rows: RowLengths) -> list[list[int]]:
    """Return the position of the first token of every part of `rows`, in the order that `PrefixCalls`
    needs."""
    answered, others = _answered(rows)
    order = [(i, 0) for i in answered]
    order += [(i, j) for i in answered for j in range(1, len(rows[i]))]
    order += [(i, j) for i in others for j in range(len(rows[i]))]
    starts, at = [[0] * len(parts) for parts in rows], 0
    for i, j in order:
        starts[i][j] = at
        at += rows[i][j]
    return starts


def prefix_calls(rows: RowLengths, filler: Sequence[int], device: torch.device) -> PrefixCalls:
    """Return the calls for `rows` in the order of `prompts_first`, followed by padding spans of `filler`
    tokens."""
    answered, others = _answered(rows)
    heads, tails = [rows[i][0] for i in answered], [sum(rows[i][1:]) for i in answered]
    completions = [tokens for i in answered for tokens in rows[i][1:] if tokens]
    segments = [*heads, *completions, *(rows[i][0] for i in others), *filler]
    parts = (segments, heads, tails)
    bounds = [np.array(list(accumulate(part, initial=0)), np.int32) for part in parts]
    longest = [-(-max(part, default=1) // ROUNDED_TO) * ROUNDED_TO for part in parts]
    numbers = torch.tensor([*map(len, bounds), *longest, sum(heads), sum(tails)])
    return PrefixCalls.read(to_device(np.concatenate(bounds), device), numbers)


def _answered(rows: RowLengths) -> tuple[list[int], list[int]]:
    """Return the indices of rows with a token in a completion, and of the other rows."""
    answered = [i for i, parts in enumerate(rows) if sum(parts[1:])]
    return answered, [i for i, parts in enumerate(rows) if not sum(parts[1:])]


def shared_prefix_attention(
    query: Tensor, key: Tensor, value: Tensor, calls: CallTensors, scaling: float
) -> Tensor:
    """Compute the attention of one packed sequence, for `query` `(1, heads, T, d)`.

    The result is `(1, T, heads, d)`.
    """
    by_token = [x[0].transpose(0, 1) for x in (query, key, value)]
    out: Tensor = _attend(*by_token, *calls, scaling)[0]
    return out[None]


# A custom operator, which `torch.compile` does not trace: a graph is compiled for shapes, not for the lengths
# of the rows in one batch.
@torch.library.custom_op("boresight::shared_prefix_attention", mutates_args=())
def _attend(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, numbers: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    """Compute the attention as a custom operator, for `query` `(T, heads, d)`, `key` and `value`
    `(T, groups, d)`.

    Returns the output `(T, heads, d)` and the log-sum-exp of its scores.
    """
    return forward_of(query, key, value, PrefixCalls.read(bounds, numbers), scaling)


@torch.library.custom_op("boresight::shared_prefix_attention_backward", mutates_args=())
def _attend_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    bounds: Tensor,
    numbers: Tensor,
    scaling: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values."""
    return backward_of(grad, query, key, value, out, lse, PrefixCalls.read(bounds, numbers), scaling)


def forward_of(
    query: Tensor, key: Tensor, value: Tensor, calls: PrefixCalls, scaling: float
) -> tuple[Tensor, Tensor]:
    """Compute the attention, for `query` `(T, heads, d)`, `key` and `value` `(T, groups, d)`.

    Returns:
        The output `(T, heads, d)`, contiguous, and the log-sum-exp of the scaled scores, at least float32
        `(heads, T)`.
    """
    own, tail, head = calls.segments, calls.of_tails, calls.of_heads
    out, lse = varlen_flash.varlen_forward(query, key, value, own, own, causal=True, scaling=scaling)
    if calls.tail_tokens:
        operands = tail(query), head(key), head(value), calls.tails, calls.heads
        other, other_lse = varlen_flash.varlen_forward(*operands, causal=False, scaling=scaling)
        _join(tail(out), tail(lse, 1), other, other_lse)
    return out, lse


def backward_of(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    calls: PrefixCalls,
    scaling: float,
) -> Gradients:
    """Return the gradients of queries, keys and values, contiguous and with the shapes of these.

    Args:
        grad: gradient of the output of `forward_of`.
        out: output of `forward_of`.
        lse: log-sum-exp from `forward_of`.
    """
    own, tail, head, grad = calls.segments, calls.of_tails, calls.of_heads, grad.contiguous()
    d_query, d_key, d_value = (
        d.contiguous()
        for d in varlen_flash.varlen_backward(
            grad, query, key, value, out, lse, own, own, causal=True, scaling=scaling
        )
    )
    if calls.tail_tokens:
        joint = tail(out), tail(lse, 1).clone(memory_format=torch.contiguous_format)
        operands = tail(grad), tail(query), head(key), head(value), *joint, calls.tails, calls.heads
        to_prompts = varlen_flash.varlen_backward(*operands, causal=False, scaling=scaling)
        tail(d_query).add_(to_prompts[0])
        head(d_key).add_(to_prompts[1])
        head(d_value).add_(to_prompts[2])
    return d_query, d_key, d_value


@_attend.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, numbers: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    tokens, heads, _ = query.shape
    return query.new_empty(query.shape), query.new_empty(heads, tokens, dtype=at_least_float32(query.dtype))


@_attend_backward.register_fake
def _(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_rest: Any) -> Gradients:
    d_query, d_key, d_value = (x.new_empty(x.shape) for x in (query, key, value))
    return d_query, d_key, d_value


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *operands, bounds, numbers, ctx.scaling = inputs
    ctx.save_for_backward(*operands, *output, bounds, numbers)


def _backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients due to the output only: no code uses the log-sum-exp."""
    return (*_attend_backward(grad, *ctx.saved_tensors, ctx.scaling), None, None, None)


_attend.register_autograd(_backward, setup_context=_keep)


def _join(out: Tensor, lse: Tensor, other: Tensor, other_lse: Tensor) -> None:
    """Fold a softmax over further keys into `out` `(T, heads, d)` and its `lse` `(heads, T)`, in place."""
    gap = (lse - other_lse).T.unsqueeze(-1)
    # The shares of both in the joint sum are float32, and so are the products; their sum is rounded once.
    torch.add(out * torch.sigmoid(gap), other * torch.sigmoid(-gap), out=out)
    torch.logaddexp(lse, other_lse, out=lse)
