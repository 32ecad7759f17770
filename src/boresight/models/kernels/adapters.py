"""Low-rank adapters whose dropout saves one byte per entry for the backward.

torch saves the mask in float32 and the masked input: eight bytes per entry and adapter. Here the input is
saved once for all adapters that read it, and the masked input is recomputed by one product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from boresight.models.kernels.matmul import goes_in_place, product, weight_gradient


def dropped_inputs(layer: nn.Module) -> Iterator[tuple[nn.Dropout, nn.Linear]]:
    """Dropout of each adapter and the linear layer that is its only reader; empty if `layer` has no such
    pair."""
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


class DropoutLinear(torch.autograd.Function):
    """dropout(x) W^T, with the mask that `F.dropout` would draw; saves x and one byte per entry."""

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
