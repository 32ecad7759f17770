"""Log-probabilities of given tokens from hidden states, without materializing the full logits.

The vocabulary is processed in tiles that fit into a processor's cache, or that are large enough for a GPU.
With l the logits of a position, t its token and p = softmax(l),

    log p_t = l_t - logsumexp(l)          d log p_t / d l = onehot(t) - p

so the forward saves only the log-sum-exp for the backward, which recomputes the logits of each tile. For
few positions (`KEPT_ELEMENTS`) the tiles of exp(l) are saved instead, which avoids that product. If the head
is frozen (LoRA), nothing is recomputed: the forward accumulates sum_v p_v W_v beside the sum of exponentials,
rescaled as the running maximum grows (online softmax, Milakov and Gimelshein 2018, arXiv 1805.02867). With
W_t it gives the gradient of the hidden state, up to the gradient of the log-probability as a factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from boresight.models.kernels.matmul import (
    add_outer,
    filled_rows,
    goes_in_place,
    gradient_dtype,
    start_of_gradient,
    wide_product,
)
from boresight.models.packed.packing import fills
from boresight.models.precision import at_least_float32

TILE_ELEMENTS = 1 << 20
"""Number of logits held in memory at a time on a CPU: 4 MB in float32."""
ROWS = 512
"""Number of positions per product on a GPU; the last group is padded, so that all products have one shape."""
CUDA_TILE_ELEMENTS = 1 << 25
"""Number of logits held in memory at a time on a GPU: 128 MB in float32.

Tiles of the CPU's size would need hundreds of small products and thousands of kernel launches, each longer
than its arithmetic. The value was chosen by that count and not measured.
"""
KEPT_ELEMENTS = 1 << 25
"""Maximum number of logits that are kept for the backward instead of being recomputed: 128 MB in float32."""

KeptForBackward = Literal["gradient", "tiles"] | None


@dataclass(frozen=True, slots=True)
class Head:
    """The output layer of a model: logits = cap(scale * (hidden @ weight.T + bias)).

    `weight` is `(vocabulary, width)`. cap(x) is softcap * tanh(x / softcap), or x if `softcap` is None.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None


def token_logprobs(
    hidden: Tensor, targets: Tensor, head: Head, *, temperature: float = 1.0, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return the log-probabilities of `targets` `(S,)` given `hidden` `(S, width)`, in nats, at least float32
    `(S,)`.

    The second result is the entropy of each next-token distribution, in nats, detached, `(S,)`; None without
    `entropy`.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    logps, spread = _TokenLogprobs.apply(
        hidden, head.weight, head.bias, targets, _Logits(head, temperature), entropy, _kept(hidden, head)
    )
    return logps, spread if entropy else None


def _kept(hidden: Tensor, head: Head) -> KeptForBackward:
    """Return the kind of tensors that the forward saves, besides its inputs, to make the backward cheaper."""
    if not torch.is_grad_enabled():
        return None
    if not (head.weight.requires_grad or (head.bias is not None and head.bias.requires_grad)):
        return "gradient" if hidden.requires_grad else None
    few = len(hidden) * len(head.weight) <= KEPT_ELEMENTS and not fills(hidden.device)
    return "tiles" if few and head.softcap is None else None


class _Logits:
    """Compute tiles of logits, and their derivative, for one head at one temperature."""

    def __init__(self, head: Head, temperature: float) -> None:
        self.scale, self.softcap, self.temperature = head.scale, head.softcap, temperature

    def tile(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return logits divided by temperature, `(positions, tile)`, and their derivative with respect to the
        raw product.

        The logits are at least float32. The derivative is None if it is the constant `self.slope`.
        """
        raw = wide_product(hidden, weight.to(hidden.dtype))
        if bias is not None:
            raw += bias
        raw = raw.to(at_least_float32(raw.dtype))
        if self.softcap is None:
            return (raw if self.slope == 1 else raw.mul_(self.slope)), None
        bent = raw.mul_(self.scale / self.softcap).tanh_()
        derivative = (1 - bent.square()).mul_(self.slope)
        return bent.mul_(self.softcap / self.temperature), derivative

    @property
    def slope(self) -> float:
        """d logit / d raw product, without a soft cap."""
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
        keep: KeptForBackward,
    ) -> tuple[Tensor, Tensor]:
        kept: list[Tensor] = []
        sums = []
        for some, aims in position_groups(hidden, targets):
            running = RunningSums(some, aims, entropy, keep == "gradient")
            for tile in vocabulary_tiles(some, weight):
                z, derivative = logits.tile(some, weight[tile], part_of(bias, tile))
                p = running.add(z, derivative, tile, weight[tile])
                if keep == "tiles":  # of all positions: if tiles are kept, there is one group
                    kept += [p, running.top]
            sums.append(running)

        def of_all(parts: Iterable[Tensor]) -> Tensor:
            return one_after_another(parts, len(hidden))

        logsumexp = of_all(running.logsumexp() for running in sums)
        logps = of_all(running.target for running in sums) - logsumexp
        ctx.logits, ctx.keep, ctx.in_place = logits, keep, goes_in_place(weight)
        if keep == "gradient":
            ctx.save_for_backward(of_all(r.hidden_gradient(logits.slope, weight) for r in sums))
        else:
            ctx.save_for_backward(hidden, weight, bias, targets, logsumexp, *kept)
        spread = of_all(running.entropy() for running in sums)
        ctx.mark_non_differentiable(spread)
        return logps, spread

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.keep == "gradient":
            (of_hidden,) = ctx.saved_tensors
            return (of_hidden * grad.unsqueeze(1)).to(of_hidden.dtype), *([None] * 6)
        return *_gradients(ctx, grad), *([None] * 4)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of hidden states, weight and bias, computed tile by tile."""
    targets = ctx.saved_tensors[3]
    sums = HeadGradients(ctx, grad.dtype)
    for tile, p, derivative in _probabilities(ctx):
        # grad * (onehot - p), as a product in place: p - onehot, then times -grad.
        inside, column = targets_within(targets, tile)
        pull = p.scatter_add_(1, column, -inside.to(p.dtype).unsqueeze(1))
        pull.mul_((grad * -ctx.logits.slope if derivative is None else -grad).unsqueeze(1))
        if derivative is not None:
            pull.mul_(derivative)
        sums.add(tile, pull.to(sums.hidden.dtype), pull.sum(0) if sums.of_bias is not None else None)
    return sums.result()


class HeadGradients:
    """Sums over tiles of the gradients of hidden states, weight and bias, as far as `ctx` needs them.

    The first tensors saved in `ctx` must be hidden states, weight and bias. If `ctx.in_place` is True, the
    gradient of the weight is added to its `.grad`.
    """

    def __init__(self, ctx: Any, dtype: torch.dtype) -> None:
        self.hidden, self.weight, bias = ctx.saved_tensors[:3]
        needs, self.in_place = ctx.needs_input_grad, ctx.in_place
        self.of_hidden = torch.zeros_like(self.hidden, dtype=dtype) if needs[0] else None
        self.of_weight = start_of_gradient(self.weight, self.in_place) if needs[1] else None
        self.of_bias = None
        if bias is not None and needs[2]:
            self.of_bias = torch.empty_like(bias, dtype=gradient_dtype(bias))

    def add(self, tile: slice, pull: Tensor, of_bias: Tensor | None) -> None:
        """Add the gradients of a tile.

        Args:
            pull: gradient of the tile's raw products, `(positions, tile)`, in the dtype of the hidden states.
            of_bias: gradient of the tile's bias, `(tile,)`.
        """
        if self.of_weight is not None:
            add_outer(self.of_weight[tile], pull, self.hidden)
        if self.of_bias is not None and of_bias is not None:
            self.of_bias[tile] = of_bias
        if self.of_hidden is not None:
            self.of_hidden += wide_product(pull, self.weight[tile].to(self.hidden.dtype).T)

    def result(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the three gradients; None for one that is not needed, or that has been added to `.grad`."""
        of_weight = self.of_weight
        if self.in_place:
            self.weight.grad, of_weight = of_weight, None
        of_hidden = None if self.of_hidden is None else self.of_hidden.to(self.hidden.dtype)
        return of_hidden, of_weight, self.of_bias


def _probabilities(ctx: Any) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
    """Yield each tile with its probabilities, which may be modified in place, and d logit / d raw product, or
    None."""
    hidden, weight, bias, _, logsumexp, *kept = ctx.saved_tensors
    for i, tile in enumerate(vocabulary_tiles(hidden, weight)):
        if kept:
            p, top = kept[2 * i : 2 * i + 2]  # exp(z - top), with the running maximum
            yield tile, p * (top - logsumexp).exp_().unsqueeze(1), None
        else:
            z, derivative = ctx.logits.tile(hidden, weight[tile], part_of(bias, tile))
            yield tile, z.sub_(logsumexp.unsqueeze(1)).exp_(), derivative


class RunningSums:
    """Sums over the vocabulary tiles added so far, relative to the running maximum of each position."""

    def __init__(self, hidden: Tensor, targets: Tensor, entropy: bool, keep_gradient: bool) -> None:
        dtype = at_least_float32(hidden.dtype)
        self.hidden, self.targets = hidden, targets
        self.top = torch.full(targets.shape, -torch.inf, dtype=dtype, device=hidden.device)
        self.mass = torch.zeros_like(self.top)
        self.target = torch.zeros_like(self.top)
        self.weighted = torch.zeros_like(self.top) if entropy else None
        self.expected = torch.zeros_like(hidden, dtype=dtype) if keep_gradient else None
        self.target_slope: Tensor | None = None

    def add(self, z: Tensor, derivative: Tensor | None, tile: slice, weight: Tensor) -> Tensor:
        """Add a tile of logits `z` `(positions, tile)`, and return exp(z - self.top).

        `z` and `derivative` may be modified in place. If a gradient is kept, the result is multiplied by
        `derivative`.
        """
        inside, column = targets_within(self.targets, tile)
        self.target = torch.where(inside, z.gather(1, column).squeeze(1), self.target)
        top = torch.maximum(self.top, z.amax(1))
        shrink, self.top = (self.top - top).exp_(), top
        p = z.sub(top.unsqueeze(1)).exp_() if self.weighted is not None else z.sub_(top.unsqueeze(1)).exp_()
        self.mass.mul_(shrink).add_(p.sum(1))
        if self.weighted is not None:
            self.weighted.mul_(shrink).add_((p * z).sum(1))
        if self.expected is None:
            return p
        if derivative is not None:
            at_target = derivative.gather(1, column).squeeze(1)
            before = torch.zeros_like(at_target) if self.target_slope is None else self.target_slope
            self.target_slope = torch.where(inside, at_target, before)
            p.mul_(derivative)
        pulled = wide_product(p.to(self.hidden.dtype), weight.to(self.hidden.dtype).T)
        self.expected.mul_(shrink.unsqueeze(1)).add_(pulled)
        return p

    def logsumexp(self) -> Tensor:
        return self.top + self.mass.log()

    def entropy(self) -> Tensor:
        """Return the entropy at each position, logsumexp(l) - sum_v p_v l_v, in nats, `(positions,)`.

        The result is empty if the entropy was not requested.
        """
        if self.weighted is None:
            return torch.empty(0, device=self.top.device)
        return self.logsumexp() - self.weighted / self.mass

    def hidden_gradient(self, slope: float, weight: Tensor) -> Tensor:
        """Return d log p_t / d hidden = slope_t W_t - sum_v p_v slope_v W_v, `(positions, width)`."""
        assert self.expected is not None
        mean = self.expected / self.mass.unsqueeze(1)
        toward = weight[self.targets].to(mean.dtype)
        if self.target_slope is None:
            return (toward - mean).mul_(slope).to(self.hidden.dtype)
        return (toward * self.target_slope.unsqueeze(1) - mean).to(self.hidden.dtype)


def one_after_another(parts: Iterable[Tensor], positions: int) -> Tensor:
    """Concatenate the results of groups of positions to `(positions, …)`, without the padding of the last
    group."""
    first, *others = parts
    return (torch.cat([first, *others]) if others else first)[:positions]


def position_groups(hidden: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield hidden states and targets in groups of `ROWS` positions, padded to one shape; on a CPU as one
    group."""
    if not fills(hidden.device):
        yield hidden, targets
        return
    filler = -len(hidden) % ROWS
    hidden, targets = F.pad(hidden, (0, 0, 0, filler)), F.pad(targets, (0, filler))
    yield from zip(hidden.split(ROWS), targets.split(ROWS), strict=True)


def vocabulary_tiles(hidden: Tensor, weight: Tensor) -> Iterator[slice]:
    """Return the tiles of the vocabulary; the logits of one tile at all positions are held in memory at a
    time."""
    elements = CUDA_TILE_ELEMENTS if hidden.is_cuda else TILE_ELEMENTS
    rows = max(1, filled_rows(len(hidden)))  # so that few numbers of rows have few widths of tiles
    width = max(1, elements // 256 // rows) * 256  # rows of odd width are slow to write
    return (slice(start, min(start + width, len(weight))) for start in range(0, len(weight), width))


def part_of(bias: Tensor | None, tile: slice) -> Tensor | None:
    """Return the bias of a tile, `(tile,)`; None if there is no bias."""
    return None if bias is None else bias[tile]


def targets_within(targets: Tensor, tile: slice) -> tuple[Tensor, Tensor]:
    """Return whether each target is in `tile`, `(S,)`, and its column in the tile, `(S, 1)`.

    For a target outside the tile, the column is an arbitrary valid one.
    """
    inside = (targets >= tile.start) & (targets < tile.stop)
    return inside, (targets - tile.start).clamp(0, tile.stop - tile.start - 1).unsqueeze(1)
