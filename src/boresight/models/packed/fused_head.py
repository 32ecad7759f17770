"""Log-probabilities of given tokens in three passes over each tile of logits (`model.kernels: fast`).

Tiles, products, and the precision of every sum are those of the module `head`, whose operations on a tile of
logits take a dozen passes over memory. Here they are elementwise functions, which are compiled on a GPU, so
that no intermediate result is written to memory:

    forward                 a product writes a tile | `tile_sums` reads it
    backward                a product writes it again | `tile_pull` reads it, and writes d loss / d product in
                            the precision of the hidden states, which the next two products read
    forward, frozen head    a product writes a tile | `tile_sums` reads it | `tile_weights` reads it, and
                            writes exp(l - max l), which the product with the weights reads; there is
                            nothing to do in the backward

With l the logits of a position, t its token and p = softmax(l): log p_t = l_t - logsumexp(l), and
d log p_t / d l = onehot(t) - p. Full logits are never held.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from boresight.models.kernels.matmul import goes_in_place, wide_product
from boresight.models.packed.flex import with_many_graphs
from boresight.models.packed.head import (
    Head,
    HeadGradients,
    RunningSums,
    one_after_another,
    part_of,
    position_groups,
    targets_within,
    vocabulary_tiles,
)
from boresight.models.precision import at_least_float32

Bend = tuple[float, float | None, float]
"""Scale, soft cap (or None) and temperature, which convert a raw product into a logit."""


def fused_token_logprobs(
    hidden: Tensor, targets: Tensor, head: Head, *, temperature: float = 1.0, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return the log-probability of each of the `targets`, and its entropy if requested, as
    `head.token_logprobs` does.

    `targets` is `(S,)`, `hidden` `(S, width)`, and both results are `(S,)`, in nats.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    trained = head.weight.requires_grad or (head.bias is not None and head.bias.requires_grad)
    frozen = torch.is_grad_enabled() and hidden.requires_grad and not trained
    bend = head.scale, head.softcap, temperature
    logps, spread = _FusedLogprobs.apply(hidden, head.weight, head.bias, targets, bend, entropy, frozen)
    return logps, spread if entropy else None


class _FusedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        bend: Bend,
        entropy: bool,
        frozen: bool,
    ) -> tuple[Tensor, Tensor]:
        sums = []
        for some, aims in position_groups(hidden, targets):
            running = _FusedSums(some, aims, entropy, frozen)
            for tile in vocabulary_tiles(some, weight):
                running.add_products(bend, tile, weight[tile], part_of(bias, tile))
            sums.append(running)
        logsumexp = one_after_another((running.logsumexp() for running in sums), len(hidden))
        target = one_after_another((running.target for running in sums), len(hidden))
        ctx.bend, ctx.frozen, ctx.in_place = bend, frozen, goes_in_place(weight)
        if frozen:
            slope = bend[0] / bend[2]
            pulls = (running.hidden_gradient(slope, weight) for running in sums)
            ctx.save_for_backward(one_after_another(pulls, len(hidden)))
        else:
            ctx.save_for_backward(hidden, weight, bias, targets, logsumexp)
        spread = one_after_another((running.entropy() for running in sums), len(hidden))
        ctx.mark_non_differentiable(spread)
        return target - logsumexp, spread

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.frozen:
            (of_hidden,) = ctx.saved_tensors
            return (of_hidden * grad.unsqueeze(1)).to(of_hidden.dtype), *([None] * 6)
        sums = HeadGradients(ctx, grad.dtype)
        for tile in vocabulary_tiles(*ctx.saved_tensors[:2]):
            sums.add(tile, *_pull(ctx, tile, grad, sums.of_bias is not None))
        return *sums.result(), *([None] * 4)


def _pull(ctx: Any, tile: slice, grad: Tensor, of_bias: bool) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of a tile's raw products and of its bias; the products are freed when it
    returns."""
    hidden, weight, bias, targets, logsumexp = ctx.saved_tensors
    raw, aims = _products(hidden, weight[tile]), targets_within(targets, tile)
    own_bias, narrow = part_of(bias, tile), hidden.dtype
    pull: tuple[Tensor, Tensor | None] = _in_one_pass(
        tile_pull, raw, own_bias, *aims, logsumexp, grad, ctx.bend, narrow, of_bias
    )
    return pull


class _FusedSums(RunningSums):
    """The running sums of the module `head`, to which tiles of raw products are added."""

    def add_products(self, bend: Bend, tile: slice, weight: Tensor, bias: Tensor | None) -> None:
        """Add the tile of logits that results from raw products with `weight` `(tile, width)` plus `bias`
        `(tile,)`."""
        raw = _products(self.hidden, weight)
        inside, column = targets_within(self.targets, tile)
        of_tile = _in_one_pass(tile_sums, raw, bias, inside, column, bend, self.weighted is not None)
        top, mass, target, weighted, slope = of_tile
        self.target = torch.where(inside, target, self.target)
        highest = torch.maximum(self.top, top)
        shrink, scale, self.top = (self.top - highest).exp_(), (top - highest).exp_(), highest
        self.mass.mul_(shrink).add_(mass * scale)
        if self.weighted is not None:
            self.weighted.mul_(shrink).add_(weighted * scale)
        if self.expected is None:
            return
        if slope is not None:
            before = torch.zeros_like(slope) if self.target_slope is None else self.target_slope
            self.target_slope = torch.where(inside, slope, before)
        narrow = self.hidden.dtype
        p = _in_one_pass(tile_weights, raw, bias, self.top, bend, narrow)
        self.expected.mul_(shrink.unsqueeze(1)).add_(wide_product(p, weight.to(narrow).T))


def _products(hidden: Tensor, weight: Tensor) -> Tensor:
    """Return raw products, `(positions, tile)`; sums of half-precision products are float32."""
    return wide_product(hidden, weight.to(hidden.dtype))


def tile_sums(
    raw: Tensor, bias: Tensor | None, inside: Tensor, column: Tensor, bend: Bend, entropy: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return the sums over a tile of raw products `(n, w)` for each position, as five tensors `(n,)`.

    With l the logits, they are: the largest logit; the sum of exp(l - largest); the logit at `column`; with
    `entropy` the sum of exp(l - largest) * l, else None; with a soft cap d l / d raw at `column`, else None.
    `column` `(n, 1)` is read for every position, also if its target is not `inside` the tile.
    """
    z, slope = _bent(raw, bias, bend)
    top = z.amax(1)
    p = (z - top.unsqueeze(1)).exp()
    target = z.gather(1, column).squeeze(1)
    weighted = (p * z).sum(1) if entropy else None
    at_target = slope.gather(1, column).squeeze(1) if isinstance(slope, Tensor) else None
    return top, p.sum(1), target, weighted, at_target


def tile_weights(raw: Tensor, bias: Tensor | None, top: Tensor, bend: Bend, narrow: torch.dtype) -> Tensor:
    """Return exp(l - top) for a tile `(n, w)` with logits l, in dtype `narrow`; with a soft cap, times d l /
    d raw."""
    z, slope = _bent(raw, bias, bend)
    p = (z - top.unsqueeze(1)).exp()
    return (p * slope if isinstance(slope, Tensor) else p).to(narrow)


def tile_pull(
    raw: Tensor,
    bias: Tensor | None,
    inside: Tensor,
    column: Tensor,
    logsumexp: Tensor,
    grad: Tensor,
    bend: Bend,
    narrow: torch.dtype,
    of_bias: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return grad * (onehot - p) * d l / d raw of a tile `(n, w)`, in dtype `narrow`, and its sum over
    positions `(w,)`.

    The sum is None unless `of_bias`.
    """
    z, slope = _bent(raw, bias, bend)
    p = (z - logsumexp.unsqueeze(1)).exp()
    onehot = (torch.arange(raw.shape[1], device=raw.device) == column) & inside.unsqueeze(1)
    pull = (onehot.to(p.dtype) - p) * (grad if isinstance(slope, Tensor) else grad * slope).unsqueeze(1)
    if isinstance(slope, Tensor):
        pull = pull * slope
    return pull.to(narrow), pull.sum(0) if of_bias else None


def _bent(raw: Tensor, bias: Tensor | None, bend: Bend) -> tuple[Tensor, Tensor | float]:
    """Return the logits divided by temperature, at least float32, and their derivative with respect to the
    raw product."""
    scale, softcap, temperature = bend
    raw = (raw if bias is None else raw + bias).to(at_least_float32(raw.dtype))
    slope = scale / temperature
    if softcap is None:
        return (raw if slope == 1 else raw * slope), slope
    bent = (raw * (scale / softcap)).tanh()
    return bent * (softcap / temperature), (1 - bent.square()) * slope


def _in_one_pass(function: Callable[..., Any], raw: Tensor, *rest: Any) -> Any:
    """Call the function, compiled on a GPU and operation by operation elsewhere."""
    return (_compiled(function) if raw.is_cuda else function)(raw, *rest)


@functools.cache
def _compiled(
    function: Callable[..., Any], backend: str | Callable[..., Any] = "inductor"
) -> Callable[..., Any]:
    """Compile a function as one graph for tiles of any size; there is one graph per precision and kind of
    head."""
    return with_many_graphs(torch.compile(function, dynamic=True, fullgraph=True, backend=backend))
