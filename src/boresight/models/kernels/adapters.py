"""Layers with low-rank adapters, with fewer passes over memory and fewer saved tensors.

A layer with one adapter and without dropout is one autograd node (`AdaptedLinear`), which adds the update to
the output of the base layer in place.

With dropout, torch saves the mask in float32 and the masked input: eight bytes per entry and adapter. Here
the input is saved once for all adapters that read it, and the masked input is recomputed by one product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from boresight.models.kernels.linear import foldable_adapters
from boresight.models.kernels.matmul import goes_in_place, product, weight_gradient


def only_adapter(layer: Any) -> str | None:
    """Return the name of the adapter of a layer that computes x W^T + b + scale * (x A^T) B^T in float32.

    None for any other layer, such as one with several adapters or with dropout.
    """
    if not hasattr(layer, "lora_A"):
        return None
    names = foldable_adapters(layer) or []
    if len(names) != 1:
        return None
    dropout = layer.lora_dropout[names[0]]
    dropped = not isinstance(dropout, nn.Identity) and dropout.training and dropout.p > 0
    small = any(p.dtype != torch.float32 for p in layer.parameters())
    return None if dropped or small else names[0]


def dropped_inputs(layer: nn.Module) -> Iterator[tuple[nn.Dropout, nn.Linear]]:
    """Yield the dropout of each adapter of `layer`, and the linear layer that alone reads its output.

    Yields nothing if `layer` has no adapter with active dropout, or computes more than plain LoRA.
    """
    if not hasattr(layer, "lora_dropout"):
        return
    from peft.tuners.lora import Linear as LoraLinear

    if type(layer) is not LoraLinear or layer.lora_variant:
        return
    for name, down in layer.lora_A.items():
        dropout = layer.lora_dropout[name]
        if type(down) is not nn.Linear or down.bias is not None or down.weight.dtype != torch.float32:
            continue
        if type(dropout) is nn.Dropout and dropout.training and dropout.p > 0:
            yield dropout, down


class AdaptedLinear(torch.autograd.Function):
    """x W^T + b + scale * (x A^T) B^T with A `(r, in)` and B `(out, r)`.

    With z = scale * grad B: d x = grad W + z A, d A = z^T x, d B = grad^T (scale * x A^T).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        inner = product(x, down).mul_(scale)
        ctx.save_for_backward(x, inner, weight, down, up)
        ctx.in_place = [goes_in_place(matrix) for matrix in (weight, down, up)]
        ctx.scale = scale
        out = product(x, weight, bias)
        out.view(-1, out.shape[-1]).addmm_(inner.flatten(0, -2), up.T)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, weight, down, up = ctx.saved_tensors
        return *adapted_gradients(ctx, grad, x, inner, weight, down, up), None


def adapted_gradients(
    ctx: Any, grad: Tensor, x: Tensor, inner: Tensor, weight: Tensor, down: Tensor, up: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients of x, W, b, A and B; None for those that `ctx` does not need or that were added to
    `.grad`.

    Args:
        ctx: context of the autograd node; its `in_place` contains whether the gradients of W, A and B are
            added to `.grad`.
        inner: scale * x A^T.
    """
    needs, direct = ctx.needs_input_grad, ctx.in_place
    pulled = product(grad, up.T).mul_(ctx.scale)
    d_x = None
    if needs[0]:
        d_x = product(grad, weight.T)
        d_x.view(-1, d_x.shape[-1]).addmm_(pulled.flatten(0, -2), down)
    return (
        d_x,
        weight_gradient(grad, x, weight, direct[0]) if needs[1] else None,
        grad.flatten(0, -2).sum(0) if needs[2] else None,
        weight_gradient(pulled, x, down, direct[1]) if needs[3] else None,
        weight_gradient(grad, inner, up, direct[2]) if needs[4] else None,
    )


class DropoutLinear(torch.autograd.Function):
    """dropout(x) W^T, with the same random mask as `F.dropout`; saves x and one byte per entry for the
    backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, rate: float) -> Tensor:
        mask = torch.empty_like(x).bernoulli_(1 - rate)
        ctx.save_for_backward(x, weight, mask.bool())
        ctx.rate, ctx.in_place = rate, goes_in_place(weight)
        return product(mask.div_(1 - rate).mul_(x), weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, kept = ctx.saved_tensors
        mask = kept.to(x.dtype).div_(1 - ctx.rate)
        d_x = product(grad, weight.T).mul_(mask) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return d_x, None, None
        return d_x, weight_gradient(grad, mask.mul_(x), weight, ctx.in_place), None
