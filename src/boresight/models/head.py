"""From hidden states to log-probabilities of given tokens, without ever holding full logits.

The vocabulary is walked in tiles that stay in a processor's cache, or that are large enough to fill a
GPU. With l the logits of a position, t its token and p = softmax(l),

    log p_t = l_t - logsumexp(l)          d log p_t / d l = onehot(t) - p

so the backward needs nothing saved but the log-sum-exp: it recomputes each tile and multiplies. Where
the head is frozen (LoRA) even that is spared: the forward accumulates  sum_v p_v W_v  beside the sum of
exponentials, rescaled as the running maximum grows (online softmax, Milakov and Gimelshein 2018,
arXiv 1805.02867), which is the whole gradient of the hidden state up to the factor from above.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from boresight.models.fused import product

TILE_ELEMENTS = 1 << 20
"""Logits held at a time on a CPU: 4 MB in float32."""
CUDA_TILE_ELEMENTS = 1 << 26
"""The same on a GPU: 256 MB in float32. Tiles of the CPU's size would be hundreds of small products and
thousands of launches, each longer than its arithmetic. Chosen by that count, not measured."""


@dataclass(frozen=True, slots=True)
class Head:
    """The output layer of a model: logits = cap(scale * (hidden @ weight.T + bias)).

    `weight` is `(vocabulary, width)`; cap(x) = softcap * tanh(x / softcap), or nothing when None.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None


def token_logprobs(
    hidden: Tensor, targets: Tensor, head: Head, *, temperature: float = 1.0, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of `targets` `(S,)` given `hidden` `(S, width)`, nats, at least float32 `(S,)`.

    With `entropy` also the entropy of each next-token distribution, nats, detached `(S,)`.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    trained = head.weight.requires_grad or (head.bias is not None and head.bias.requires_grad)
    keep_gradient = torch.is_grad_enabled() and hidden.requires_grad and not trained
    logps, spread = _TokenLogprobs.apply(
        hidden, head.weight, head.bias, targets, _Logits(head, temperature), entropy, keep_gradient
    )
    return logps, spread if entropy else None


class _Logits:
    """Tiles of logits, and their derivative, for one head at one temperature."""

    def __init__(self, head: Head, temperature: float):
        self.scale, self.softcap, self.temperature = head.scale, head.softcap, temperature

    def tile(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Logits over temperature, at least float32, and their derivative by the raw product.

        The derivative is None where it is the constant `self.slope`.
        """
        raw = product(hidden, weight.to(hidden.dtype))
        if bias is not None:
            raw += bias
        raw = raw if raw.dtype == torch.float64 else raw.float()
        if self.softcap is None:
            return (raw if self.slope == 1 else raw.mul_(self.slope)), None
        bent = raw.mul_(self.scale / self.softcap).tanh_()
        derivative = (1 - bent.square()).mul_(self.slope)
        return bent.mul_(self.softcap / self.temperature), derivative

    @property
    def slope(self) -> float:
        """d logit / d raw product, where nothing is capped."""
        return self.scale / self.temperature


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        logits: _Logits,
        entropy: bool,
        keep_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        running = _Running(hidden, targets, entropy, keep_gradient)
        for tile in _tiles(hidden, weight):
            z, derivative = logits.tile(hidden, weight[tile], _part(bias, tile))
            running.add(z, derivative, tile, weight[tile])
        logps = running.target - running.logsumexp()
        ctx.logits, ctx.keep_gradient = logits, keep_gradient
        if keep_gradient:
            ctx.save_for_backward(running.hidden_gradient(logits.slope, weight))
        else:
            ctx.save_for_backward(hidden, weight, bias, targets, running.logsumexp())
        spread = running.entropy()
        ctx.mark_non_differentiable(spread)
        return logps, spread

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.keep_gradient:
            (kept,) = ctx.saved_tensors
            return (kept * grad.unsqueeze(1)).to(kept.dtype), *([None] * 6)
        return *_recompute_gradients(ctx, grad), *([None] * 4)


def _recompute_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of hidden states, weight and bias, one recomputed tile at a time."""
    hidden, weight, bias, targets, logsumexp = ctx.saved_tensors
    d_hidden = torch.zeros_like(hidden, dtype=grad.dtype) if ctx.needs_input_grad[0] else None
    d_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
    d_bias = torch.empty_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
    for tile in _tiles(hidden, weight):
        z, derivative = ctx.logits.tile(hidden, weight[tile], _part(bias, tile))
        # grad * (onehot - p), as a product in place: p - onehot, then times -grad.
        pull = z.sub_(logsumexp.unsqueeze(1)).exp_()
        inside, column = _within(targets, tile)
        pull.scatter_add_(1, column, -inside.to(pull.dtype).unsqueeze(1))
        pull.mul_((grad * -ctx.logits.slope if derivative is None else -grad).unsqueeze(1))
        if derivative is not None:
            pull.mul_(derivative)
        narrow = pull.to(hidden.dtype)
        if d_weight is not None:
            d_weight[tile] = narrow.T @ hidden
        if d_bias is not None:
            d_bias[tile] = pull.sum(0)
        if d_hidden is not None:
            d_hidden += product(narrow, weight[tile].to(hidden.dtype).T)
    return (None if d_hidden is None else d_hidden.to(hidden.dtype)), d_weight, d_bias


class _Running:
    """Sums over the tiles seen so far, relative to the running maximum of each position."""

    def __init__(self, hidden: Tensor, targets: Tensor, entropy: bool, keep_gradient: bool):
        dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        self.hidden, self.targets = hidden, targets
        self.top = torch.full(targets.shape, -torch.inf, dtype=dtype, device=hidden.device)
        self.mass = torch.zeros_like(self.top)
        self.target = torch.zeros_like(self.top)
        self.weighted = torch.zeros_like(self.top) if entropy else None
        self.expected = torch.zeros_like(hidden, dtype=dtype) if keep_gradient else None
        self.target_slope: Tensor | None = None

    def add(self, z: Tensor, derivative: Tensor | None, tile: slice, weight: Tensor) -> None:
        """Take in one tile of logits; `z` is used up."""
        inside, column = _within(self.targets, tile)
        self.target = torch.where(inside, z.gather(1, column).squeeze(1), self.target)
        top = torch.maximum(self.top, z.amax(1))
        shrink, self.top = (self.top - top).exp_(), top
        p = z.sub(top.unsqueeze(1)).exp_() if self.weighted is not None else z.sub_(top.unsqueeze(1)).exp_()
        self.mass.mul_(shrink).add_(p.sum(1))
        if self.weighted is not None:
            self.weighted.mul_(shrink).add_((p * z).sum(1))
        if self.expected is None:
            return
        if derivative is not None:
            at_target = derivative.gather(1, column).squeeze(1)
            before = torch.zeros_like(at_target) if self.target_slope is None else self.target_slope
            self.target_slope = torch.where(inside, at_target, before)
            p.mul_(derivative)
        pulled = product(p.to(self.hidden.dtype), weight.to(self.hidden.dtype).T)
        self.expected.mul_(shrink.unsqueeze(1)).add_(pulled)

    def logsumexp(self) -> Tensor:
        return self.top + self.mass.log()

    def entropy(self) -> Tensor:
        """logsumexp(l) - sum_v p_v l_v."""
        if self.weighted is None:
            return torch.empty(0, device=self.top.device)
        return self.logsumexp() - self.weighted / self.mass

    def hidden_gradient(self, slope: float, weight: Tensor) -> Tensor:
        """d log p_t / d hidden = slope_t W_t - sum_v p_v slope_v W_v, `(S, width)`."""
        assert self.expected is not None
        mean = self.expected / self.mass.unsqueeze(1)
        toward = weight[self.targets].to(mean.dtype)
        if self.target_slope is None:
            return (toward - mean).mul_(slope).to(self.hidden.dtype)
        return (toward * self.target_slope.unsqueeze(1) - mean).to(self.hidden.dtype)


def _tiles(hidden: Tensor, weight: Tensor) -> Iterator[slice]:
    elements = CUDA_TILE_ELEMENTS if hidden.is_cuda else TILE_ELEMENTS
    width = max(256, elements // max(1, len(hidden)))
    return (slice(start, min(start + width, len(weight))) for start in range(0, len(weight), width))


def _part(bias: Tensor | None, tile: slice) -> Tensor | None:
    return None if bias is None else bias[tile]


def _within(targets: Tensor, tile: slice) -> tuple[Tensor, Tensor]:
    """Which targets fall into `tile`, and a column of it to read for each, `(S,)` and `(S, 1)`."""
    inside = (targets >= tile.start) & (targets < tile.stop)
    return inside, (targets - tile.start).clamp(0, tile.stop - tile.start - 1).unsqueeze(1)
