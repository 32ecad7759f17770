"""Attention over the packed layout, registered with transformers so that models stay unpatched.

In a packed row each completion attends to the prompt and to itself. On a CPU the softmax over both parts is
combined from kernels that need no mask: all completions at once against the prompt, and each causally
against itself. Both are joined by their log-sum-exp, as flash attention does between blocks (Dao
et al. 2022, arXiv 2205.14135, section 3.1). Its backward is exact with the joint log-sum-exp. On CUDA one
FlexAttention kernel with a block mask does the same, or, for a batch that was packed for fast kernels, two
calls of flash attention over many sequences each (`shared_prefix`).

For inputs that are not packed, the registered function calls the attention that the model had before, so
generation and the padded path are not affected.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from boresight.models.packed.packing import PackedBatch, Span, length
from boresight.models.packed.shared_prefix import CallTensors, shared_prefix_attention
from boresight.models.packed.varlen_flash import MULTIPLE, WIDEST
from boresight.models.precision import at_least_float32

_PREFIX = "boresight_"
DELEGATES = ("sdpa", "eager")
"""Attention implementations of transformers that can be extended; they still compute everything that is not
packed."""
# Keyword arguments of attention functions that change the result and that no code here handles.
_UNHANDLED = ("s_aux", "position_bias", "head_mask", "cache", "indices", "attn_bias")

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class UnsupportedAttention(Exception):
    """The model uses an attention option that the packed layout does not support."""


def install(model: PreTrainedModel) -> bool:
    """Make `model`, a transformers model, accept packed sequences; return False if it cannot.

    Its own attention is still used for everything that is not packed. Repeated calls have no effect.
    """
    before = model.config._attn_implementation
    if before.startswith(_PREFIX):
        return True
    if before not in DELEGATES or not model._can_set_attn_implementation():
        return False
    model.set_attn_implementation(_PREFIX + before)
    return bool(model.config._attn_implementation == _PREFIX + before)


def poisoned_mask(like: Tensor) -> Tensor:
    """Return a mask with which every attention function except this package's fails.

    transformers passes a four-dimensional mask to every layer unchanged. This one has no keys, so an
    attention that ignores the layout fails on its shape instead of letting rows attend to each other.
    """
    return torch.zeros(1, 1, 1, 0, dtype=torch.bool, device=like.device)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packed: PackedBatch,
    *,
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute the attention of one packed sequence.

    Args:
        query: `(1, heads, T, d)`; `key` and `value` may have fewer heads.

    Returns:
        The output `(1, T, heads, d)`, and None in place of attention weights.

    Raises:
        UnsupportedAttention: the layer uses an option that would otherwise be ignored silently.
    """
    _refuse_unhandled(module, kwargs)
    if sliding_window is not None and any(span.longest > sliding_window for span in packed.spans):
        raise UnsupportedAttention(f"a row longer than the sliding window of {sliding_window} tokens")
    if packed.calls is not None and not packed.plain:
        kwargs |= {"dropout": dropout, "softcap": softcap}
        return attention_by_calls(module, query, key, value, packed.calls.tensors, scaling=scaling, **kwargs)
    query, key, value = _in_precision_of_run(query, key, value)
    if query.is_cuda and not dropout and not packed.plain:
        from boresight.models.packed.flex import flex_packed_attention

        return flex_packed_attention(query, key, value, packed, scaling, softcap), None
    if softcap or dropout or query.is_cuda or packed.plain or query.shape[-1] != value.shape[-1]:
        return _attend_plainly(query, key, value, packed.segments, scaling, dropout, softcap), None
    if packed.short is not None:
        return packed.short.attend(query, key, value, scaling), None
    return _PackedFlash.apply(query, key, value, packed.segments, scaling).transpose(1, 2), None


def attention_by_calls(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    calls: CallTensors,
    *,
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute the attention of one packed sequence with fast kernels; shapes are those of `packed_attention`.

    Rows must not be longer than the layer's sliding window. `torch.compile` can trace this function.

    Raises:
        UnsupportedAttention: the layer uses an option that would otherwise be ignored silently.
    """
    _refuse_unhandled(module, kwargs)
    query, key, value = _in_precision_of_run(query, key, value)
    if lacking := _lacks_flash(query, value, dropout, softcap):
        raise UnsupportedAttention(lacking)
    return shared_prefix_attention(query, key, value, calls, scaling), None


def _refuse_unhandled(module: torch.nn.Module, options: dict[str, Any]) -> None:
    unhandled = [name for name in _UNHANDLED if options.get(name) is not None]
    if unhandled or not getattr(module, "is_causal", True):
        raise UnsupportedAttention(", ".join(unhandled) or "attention that is not causal")


def _in_precision_of_run(*operands: Tensor) -> tuple[Tensor, ...]:
    """Cast operands to autocast's precision if autocast is enabled, since rotary embeddings may return
    float32."""
    device = operands[0].device.type
    if not torch.is_autocast_enabled(device):
        return operands
    return tuple(x.to(torch.get_autocast_dtype(device)) for x in operands)


def _lacks_flash(query: Tensor, value: Tensor, dropout: float, softcap: float | None) -> str | None:
    """Return the option of the layer that variable-length flash attention does not support, as text, or
    None."""
    width = query.shape[-1]
    if softcap:
        return "flash attention does not cap scores softly"
    if dropout:
        return f"attention dropout at a rate of {dropout:g}"
    if value.shape[-1] != width or width % MULTIPLE or width > WIDEST:
        return f"flash attention has no heads of width {width} with values of width {value.shape[-1]}"
    return None


class _PackedFlash(torch.autograd.Function):
    """Packed attention by flash kernels per segment on a CPU, joined by log-sum-exp; no T x T tensor is
    created."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, spans: tuple[Span, ...], scaling: float
    ) -> Tensor:
        groups = query.shape[1] // key.shape[1]
        keys, values = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        _, heads, tokens, width = query.shape
        # Token-major memory, as the flash kernel itself returns it: what the output projection reads.
        out = query.new_empty(1, tokens, heads, width).transpose(1, 2)
        joint = query.new_empty(1, heads, tokens, dtype=at_least_float32(query.dtype))

        def attend(queries: slice, over: slice, causal: bool) -> tuple[Tensor, Tensor]:
            return _forward(
                query[:, :, queries], keys[:, :, over], values[:, :, over], 0.0, causal, scale=scaling
            )

        for span in spans:
            p, tail = span.prompt, slice(span.prompt.stop, span.end)
            out[:, :, p], joint[:, :, p] = attend(p, p, True)
            if length(tail) == 0:
                continue
            out[:, :, tail], joint[:, :, tail] = attend(tail, p, False)
            for own in filter(length, span.completions):
                _join(out[:, :, own], joint[:, :, own], *attend(own, own, True))
        ctx.save_for_backward(query, key, value, out, joint)
        ctx.spans, ctx.scaling, ctx.groups = spans, scaling, groups
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, joint = ctx.saved_tensors
        keys, values = (x.repeat_interleave(ctx.groups, dim=1) for x in (key, value))
        d_query = torch.empty_like(query)
        d_keys, d_values = torch.empty_like(keys), torch.empty_like(values)

        def attend(q: slice, over: slice, causal: bool) -> tuple[Tensor, Tensor, Tensor]:
            q_side = (query[:, :, q], keys[:, :, over], values[:, :, over], out[:, :, q], joint[:, :, q])
            return _backward(grad[:, :, q], *q_side, 0.0, causal, scale=ctx.scaling)

        for span in ctx.spans:
            p, tail = span.prompt, slice(span.prompt.stop, span.end)
            d_query[:, :, p], d_keys[:, :, p], d_values[:, :, p] = attend(p, p, True)
            if length(tail) == 0:
                continue
            d_query[:, :, tail], from_tail_k, from_tail_v = attend(tail, p, False)
            d_keys[:, :, p] += from_tail_k
            d_values[:, :, p] += from_tail_v
            for own in filter(length, span.completions):
                own_query, d_keys[:, :, own], d_values[:, :, own] = attend(own, own, True)
                d_query[:, :, own] += own_query
        return d_query, _sum_groups(d_keys, key), _sum_groups(d_values, value), None, None


def _join(out: Tensor, joint: Tensor, other: Tensor, other_lse: Tensor) -> None:
    """Merge a second softmax, over further keys, into `out` and its log-sum-exp `joint`, in place."""
    both = torch.logaddexp(joint, other_lse)
    out.mul_((joint - both).exp_().unsqueeze(-1)).add_(other * (other_lse - both).exp_().unsqueeze(-1))
    joint.copy_(both)


def _sum_groups(grad: Tensor, like: Tensor) -> Tensor:
    """Return the gradient of keys or values that several query heads share: the sum over these heads."""
    if grad.shape == like.shape:
        return grad
    batch, heads, tokens, width = like.shape
    return grad.view(batch, heads, -1, tokens, width).sum(2)


def _attend_plainly(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    spans: tuple[Span, ...],
    scaling: float,
    dropout: float,
    softcap: float | None,
) -> Tensor:
    """Compute packed attention by the plain formula, for options that the flash kernel lacks: soft-capping
    and dropout."""
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    pieces = {}  # by first position: for fast kernels, parts of a row are not adjacent
    for span in spans:
        for own, prefix in ((span.prompt, 0), *((c, length(span.prompt)) for c in span.completions)):
            if not length(own):
                continue
            seen = [slice(span.prompt.start, span.prompt.start + prefix), own]
            k, v = (torch.cat([x[:, :, s] for s in seen], dim=2) for x in (key, value))
            scores = query[:, :, own] @ k.transpose(2, 3) * scaling
            if softcap:
                scores = torch.tanh(scores / softcap) * softcap
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).triu(prefix + 1)
            weights = scores.masked_fill(later, -math.inf).softmax(-1, dtype=at_least_float32(query.dtype))
            pieces[own.start] = torch.dropout(weights.to(query.dtype), dropout, train=dropout > 0) @ v
    return torch.cat([pieces[start] for start in sorted(pieces)], dim=2).transpose(1, 2)


def _eager_of(module: torch.nn.Module) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """Return the eager attention of a model, which transformers defines in each model's file under the same
    name."""
    return vars(sys.modules[type(module).__module__])["eager_attention_forward"]


def _register(before: str) -> None:
    def attention(
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        packed: PackedBatch | None = None,
        calls: CallTensors | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        if calls is not None:  # in a compiled layer, whose graph does not depend on one batch
            return attention_by_calls(module, query, key, value, calls, **kwargs)
        if packed is not None:
            return packed_attention(module, query, key, value, packed, **kwargs)
        own = _eager_of(module) if before == "eager" else ALL_ATTENTION_FUNCTIONS[before]
        return own(module, query, key, value, attention_mask, **kwargs)

    AttentionInterface.register(_PREFIX + before, attention)
    AttentionMaskInterface.register(_PREFIX + before, ALL_MASK_ATTENTION_FUNCTIONS[before])


for _before in DELEGATES:
    _register(_before)
