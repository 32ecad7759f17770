"""Compute log-probabilities of completions from hidden states or logits; no other module does.

`completion_logprobs` has two layouts that give the same numbers. `padded` is the simple one: one row per
completion, an attention mask, full logits. `packed` computes every prompt once, without padding and without
full logits. The tests compare values and gradients of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from boresight.core.errors import UserError
from boresight.data.rows import Row
from boresight.models.kernels.fast import fast_kernels
from boresight.models.kernels.to_device import to_device
from boresight.models.kernels.wide_logits import wide_logits
from boresight.models.lengths import split_by_length
from boresight.models.limits import refuse_unreadable_rows
from boresight.models.packed.fused_head import fused_token_logprobs
from boresight.models.packed.head import token_logprobs
from boresight.models.packed.packing import PackedBatch, pack
from boresight.models.packed.plan import PackedPlan, packed_plan, warn_once
from boresight.models.policy import Policy
from boresight.models.precision import at_least_float32
from boresight.models.sharding import as_forward

Layout = Literal["auto", "packed", "padded"]


@dataclass(frozen=True, slots=True)
class CompletionLogps:
    """Log-probabilities of the completions of a batch of rows, for k completions per row.

    Attributes:
        sums: log-probabilities summed over the scored tokens, in nats, `(rows, k)`, float32 (float64 for a
            float64 model).
        lengths: numbers of scored tokens, `(rows, k)`.
        entropy: entropy of the next-token distribution summed over the scored positions, in nats, detached,
            `(rows, k)`; None unless requested.
        tokens: log-probabilities of the scored tokens, in nats, `(rows, k, longest)`, 0 after the last token;
            None unless requested.
    """

    sums: Tensor
    lengths: Tensor
    entropy: Tensor | None = None
    tokens: Tensor | None = None


def completion_logprobs(
    model: Policy,
    rows: Sequence[Row],
    *,
    layout: Layout = "auto",
    temperature: float = 1.0,
    entropy: bool = False,
    tokens: bool = False,
) -> CompletionLogps:
    """Compute the log-probabilities of every completion of `rows` under a causal language model, with or
    without PEFT adapters.

    All rows must have the same number k of completions. The result is differentiable with respect to the
    model's parameters unless gradients are disabled.

    Args:
        layout: `packed` or `padded`; `auto` is `packed` if the model supports it, otherwise `padded`, and the
            reason is logged once.
        temperature: divisor of the logits.
        entropy: return entropies too.
        tokens: return the log-probabilities of single tokens too.

    Raises:
        UserError: `packed` was requested but is not possible for the model or for the length of a row; or a
            row contains a token without an embedding, or more tokens than the model's table of positions.
    """

    def compute() -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        logps = _logprobs(model, rows, layout, temperature, entropy, tokens)
        return logps.sums, logps.lengths, logps.entropy, logps.tokens

    return CompletionLogps(*as_forward(model, compute))


def _logprobs(
    model: Policy, rows: Sequence[Row], layout: Layout, temperature: float, entropy: bool, tokens: bool
) -> CompletionLogps:
    """Compute log-probabilities in one forward, or in one per group of completions that may share a
    forward."""
    refuse_unreadable_rows(model, rows)
    groups = split_by_length(model, rows)
    if groups is None:
        return _one_forward(model, rows, layout, temperature, entropy, tokens)
    parts = [_one_forward(model, alone, layout, temperature, entropy, tokens) for _, alone in groups]
    order = np.argsort(np.concatenate([places for places, _ in groups]))

    def in_place(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([tensor.flatten() for tensor in tensors])[order].view(len(rows), -1)

    spread = [part.entropy for part in parts if part.entropy is not None]
    lines = [line for part in parts if part.tokens is not None for line in part.tokens.flatten(0, 1)]
    return CompletionLogps(
        sums=in_place([part.sums for part in parts]),
        lengths=in_place([part.lengths for part in parts]),
        entropy=in_place(spread) if spread else None,
        tokens=_side_by_side([lines[place] for place in order], len(rows)) if lines else None,
    )


def _side_by_side(lines: Sequence[Tensor], rows: int) -> Tensor:
    """Pad one line of any length per completion with zeros, and return them as `(rows, k, longest)`."""
    together = torch.nn.utils.rnn.pad_sequence(list(lines), batch_first=True)
    return together.view(rows, -1, together.shape[1])


def _one_forward(
    model: Policy, rows: Sequence[Row], layout: Layout, temperature: float, entropy: bool, tokens: bool
) -> CompletionLogps:
    if layout != "padded":
        plan = packed_plan(model, rows)
        if isinstance(plan, PackedPlan):
            return packed_logprobs(model, plan, rows, temperature=temperature, entropy=entropy, tokens=tokens)
        if layout == "packed":
            raise UserError(f"layout: this model cannot run packed ({plan}); use layout auto or padded.")
        warn_once(model, plan)
    return padded_logprobs(model, rows, temperature=temperature, entropy=entropy, tokens=tokens)


def padded_logprobs(
    model: Policy,
    rows: Sequence[Row],
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    tokens: bool = False,
) -> CompletionLogps:
    """Compute log-probabilities in the padded layout: one right-padded row per completion, full logits.

    It is slow and simple.
    """
    taken, keep, logps = _padded_tokens(model, rows, temperature)
    shape = (len(rows), completions_per_row(rows))
    spread = None
    if entropy:
        with torch.no_grad():
            spread = entropies(logps).masked_fill(~keep, 0).sum(-1).view(shape)
    return CompletionLogps(
        sums=taken.masked_fill(~keep, 0).sum(-1).view(shape),
        lengths=keep.sum(-1).float().view(shape),
        entropy=spread,
        tokens=_side_by_side([line[kept] for line, kept in zip(taken, keep, strict=True)], len(rows))
        if tokens
        else None,
    )


def entropies(logps: Tensor) -> Tensor:
    """Return entropies `(...)`, in nats, of log-probabilities `(..., vocabulary)`; tokens of probability 0
    contribute 0."""
    return torch.special.entr(logps.exp()).sum(-1)


def _padded_tokens(model: Policy, rows: Sequence[Row], temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return for every token but the first its log-probability, whether it is scored, and the
    log-probabilities of the vocabulary."""
    ids, attended, scored = (to_device(a, model.device) for a in _pad(rows))
    mask = attended.long()  # integers: ProphetNet computes with them
    with wide_logits(model):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    logps = (logits.to(at_least_float32(logits.dtype)) / temperature).log_softmax(-1)
    return logps.gather(-1, ids[:, 1:, None]).squeeze(-1), scored[:, 1:], logps


def packed_logprobs(
    model: Policy,
    plan: PackedPlan,
    rows: Sequence[Row],
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    tokens: bool = False,
) -> CompletionLogps:
    """Compute log-probabilities in the packed layout; the head is applied only at positions that predict a
    scored token."""
    batch, taken, spread = _packed_tokens(model, plan, rows, temperature, entropy)
    counts = [c.scored for row in rows for c in row.completions]  # counted on the host, without waiting
    return CompletionLogps(
        sums=batch.per_completion(taken),
        lengths=batch.lengths(),
        entropy=None if spread is None else batch.per_completion(spread),
        tokens=_side_by_side(taken.split(counts), len(rows)) if tokens else None,
    )


def _packed_tokens(
    model: Policy, plan: PackedPlan, rows: Sequence[Row], temperature: float, entropy: bool = False
) -> tuple[PackedBatch, Tensor, Tensor | None]:
    """Return the packed batch, and log-probability and entropy of every scored token, in the order of the
    completions.

    The entropy is None unless requested.
    """
    batch = pack(rows, completions_per_row(rows), model.device, model.dtype)
    hidden = plan.hidden(model, batch, batch.scored)[batch.predictors]
    head = plan.head(model)
    if head is None:
        logits = plan.logits(model, hidden)
        all_logps = (logits.to(at_least_float32(logits.dtype)) / temperature).log_softmax(-1)
        taken = all_logps.gather(-1, batch.targets[:, None]).squeeze(-1)
        spread = entropies(all_logps).detach() if entropy else None
    else:
        scored = fused_token_logprobs if fast_kernels() else token_logprobs
        taken, spread = scored(hidden, batch.targets, head, temperature=temperature, entropy=entropy)
    return batch, taken, spread


@torch.no_grad()
def completion_token_logprobs(
    model: Policy, rows: Sequence[Row], *, temperature: float = 1.0
) -> list[tuple[Tensor, ...]]:
    """Return the log-probabilities of scored tokens, in nats, without gradient: `result[row][completion]` is
    `(scored,)`."""
    refuse_unreadable_rows(model, rows)
    k = completions_per_row(rows)
    groups = split_by_length(model, rows) or [(list(range(k * len(rows))), list(rows))]
    found: dict[int, Tensor] = {}
    for places, members in groups:
        found |= zip(places, _token_logprobs(model, members, temperature), strict=True)
    return [tuple(found[place] for place in range(i, i + k)) for i in range(0, k * len(rows), k)]


def _token_logprobs(model: Policy, rows: Sequence[Row], temperature: float) -> Sequence[Tensor]:
    """Return one tensor `(scored,)` per completion, in order, with its tokens' log-probabilities, from one
    forward."""
    plan = packed_plan(model, rows)
    if isinstance(plan, PackedPlan):
        batch, taken, _ = _packed_tokens(model, plan, rows, temperature)
        return taken.split(batch.lengths().long().flatten().tolist())
    taken, keep, _ = _padded_tokens(model, rows, temperature)
    return [line[kept] for line, kept in zip(taken, keep, strict=True)]


def completions_per_row(rows: Sequence[Row]) -> int:
    """Return k, the number of completions of every row of a batch.

    Raises:
        ValueError: rows have different numbers of completions.
    """
    counts = {len(row.completions) for row in rows}
    if len(counts) != 1:
        raise ValueError(f"rows of one batch must carry the same number of completions, got {sorted(counts)}")
    return counts.pop()


def _pad(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return token ids (int64), attended positions and scored positions (bool), each
    `(rows * k, longest)`."""
    pairs = [(row.prompt, completion) for row in rows for completion in row.completions]
    longest = max(len(prompt) + len(c.ids) for prompt, c in pairs)
    ids = np.zeros((len(pairs), longest), np.int64)
    attended, scored = np.zeros(ids.shape, bool), np.zeros(ids.shape, bool)
    for i, (prompt, c) in enumerate(pairs):
        start, end = len(prompt), len(prompt) + len(c.ids)
        ids[i, :start], ids[i, start:end] = prompt, c.ids
        attended[i, :end], scored[i, start:end] = True, c.mask
    return ids, attended, scored
