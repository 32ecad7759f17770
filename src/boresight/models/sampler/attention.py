"""Attention while sampling, registered with transformers so that models stay unpatched.

In a decoding step, all samples of a prompt are multiplied by the prompt's keys in one matrix product per kv
head; each sample attends to its own tokens separately. One softmax covers both. Query heads that share a kv
head are further rows of the same product, so keys and values are never repeated in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from boresight.models.precision import at_least_float32
from boresight.models.sampler.kv_cache import DecodeStep, KeyValues, RolloutCache

NAME = "boresight_rollout"

# Keyword arguments of attention functions that change the result and that no code here handles.
_UNHANDLED = ("s_aux", "position_bias", "head_mask", "attn_bias", "cu_seq_lens_q")


def unsupported(model: PreTrainedModel) -> str | None:
    """Return the reason why this attention does not support `model`, as text; None if it does.

    Supported are decoders of full and sliding-window attention layers, each of which has its own keys.
    """
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    name = type(model).__name__
    if layers - {"full_attention", "sliding_attention"}:
        return f"{name} has layers of kind {', '.join(sorted(layers))}"
    if not (getattr(model, "_supports_attention_backend", False) and model._can_set_attn_implementation()):
        return f"the attention of {name} cannot be replaced"
    shared: object = getattr(config, "num_kv_shared_layers", 0)
    if model.config.is_encoder_decoder or shared:
        return f"{name} shares keys between layers or with an encoder"
    return None


@contextmanager
def rollout_attention(model: PreTrainedModel, name: str = NAME) -> Iterator[None]:
    """Inside the block, `model` uses the attention function registered as `name`, by default that of this
    module."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attend(
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
    rollout: RolloutCache | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute attention as transformers' registered function: for a prefill without `rollout`, else for a
    decoding step.

    `query` is `(rows, heads, tokens, d)`, and the result is `(rows, tokens, heads, d)`.
    """
    refuse_unhandled(attention_mask, kwargs)
    if rollout is None:
        return prefill_attention(query, key, value, scaling, softcap, sliding_window), None
    prompts = rollout.tables[module.layer_idx].prompts  # type: ignore[index]  # transformers numbers its layers
    return decode_attention(query, key, value, prompts, rollout.step, scaling, softcap, sliding_window), None


def refuse_unhandled(attention_mask: Tensor | None, arguments: Mapping[str, object]) -> None:
    """Raise `NotImplementedError` for an argument that changes the result of attention and is not handled
    here."""
    unhandled = [name for name in _UNHANDLED if arguments.get(name) is not None]
    if unhandled or attention_mask is not None:
        raise NotImplementedError(f"rollout attention does not handle {unhandled or 'a mask'}")


def prefill_attention(
    query: Tensor, key: Tensor, value: Tensor, scaling: float, softcap: float | None, window: int | None
) -> Tensor:
    """Compute causal attention over prompts padded on the right; tokens do not attend to the padding after
    them.

    `query` is `(prompts, heads, tokens, d)`, `key` and `value` are `(prompts, kv heads, tokens, d)`; the
    result is `(prompts, tokens, heads, d)`.
    """
    repeats = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    tokens = query.shape[2]
    if softcap is None and (window is None or tokens <= window):
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling
        )
        return out.transpose(1, 2).contiguous()
    distance = torch.arange(tokens, device=query.device)
    distance = distance.unsqueeze(1) - distance
    hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
    scores = soft_cap(query @ key.transpose(2, 3) * scaling, softcap).masked_fill(hidden, -torch.inf)
    return (wide_softmax(scores) @ value).transpose(1, 2).contiguous()  # since some layers take a view of it


def decode_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prompts: KeyValues,
    step: DecodeStep,
    scaling: float,
    softcap: float | None,
    window: int | None,
) -> Tensor:
    """Compute the attention of a decoding step with one new token per row.

    `query` is `(n, heads, 1, d)`, and the result is `(n, 1, heads, d)`. `key` and `value` are those of the
    rows' own tokens, `(n, kv heads, tokens, d)`.
    """
    n, heads, _, d = query.shape
    shape = torch.Size((n, key.shape[1], heads // key.shape[1]))
    prompt_key, prompt_value = (
        x[: step.prompts, :, : step.prompt_tokens].flatten(0, 1) for x in (prompts.keys, prompts.values)
    )
    q = (query * scaling).view(*shape, d)
    to_prompt = _to_rows(torch.bmm(_to_grid(q, step), prompt_key.mT), shape, step)
    to_own = torch.bmm(q.flatten(0, 1), key.flatten(0, 1).mT).view(*shape, -1)
    scores = soft_cap(torch.cat([to_prompt, to_own], dim=-1), softcap)
    weights = wide_softmax(scores.add_(step.bias(window, scores.dtype)))
    on_prompt, on_own = weights.split([step.prompt_tokens, step.tokens], dim=-1)
    out = _to_rows(torch.bmm(_to_grid(on_prompt, step), prompt_value), shape, step)
    return torch.baddbmm(out.flatten(0, 1), on_own.flatten(0, 1), value.flatten(0, 1)).view(n, 1, heads, -1)


def _to_grid(x: Tensor, step: DecodeStep) -> Tensor:
    """Arrange `(rows, kv heads, r, w)` by prompt as `(prompts * kv heads, width * r, w)`."""
    _, kv_heads, r, w = x.shape
    if step.cell_row is not None:
        x = x.index_select(0, step.cell_row)
    grid = x.reshape(step.prompts, step.width, kv_heads, r * w).transpose(1, 2)
    return grid.reshape(step.prompts * kv_heads, step.width * r, w)


def _to_rows(x: Tensor, shape: torch.Size, step: DecodeStep) -> Tensor:
    """Arrange `(prompts * kv heads, width * r, w)` by row as `(*shape, w)`, for shape = (rows, kv heads,
    r)."""
    _, kv_heads, _ = shape
    rows = (
        x.view(step.prompts, kv_heads, step.width, -1).transpose(1, 2).reshape(step.prompts * step.width, -1)
    )
    if step.row_cell is not None:
        rows = rows.index_select(0, step.row_cell)
    return rows.view(*shape, -1)


def soft_cap(scores: Tensor, softcap: float | None) -> Tensor:
    """Return softcap * tanh(scores / softcap), with the shape of `scores`; `scores` if there is no cap."""
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


def wide_softmax(scores: Tensor) -> Tensor:
    """Return the softmax over the last dimension, computed at least in float32, in the dtype of `scores`."""
    return scores.softmax(-1, dtype=at_least_float32(scores.dtype)).to(scores.dtype)


AttentionInterface.register(NAME, attend)
