"""Compute logits in float32 with an output layer that is called as a module and multiplies in half precision.

The product would otherwise be rounded to half precision, for logits of 16 to 32 to steps of an eighth, which
is half of all rounding in a log-probability. The operands stay in half precision; only the sums are kept in
float32.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boresight.models.kernels.compact import HalfLinear
from boresight.models.kernels.linear import forwards_replaced
from boresight.models.kernels.matmul import gradient_dtype, wide_product
from boresight.models.policy import Policy, causal_model


@contextmanager
def wide_logits(model: Policy) -> Iterator[None]:
    """Inside the block, the output layer of `model` returns its logits without rounding them to half
    precision.

    Adapters on the layer stay in place. Nothing changes in wider precisions, or if the layer is not a plain
    linear layer.
    """
    layer: Any = causal_model(model).get_output_embeddings()
    layer = getattr(layer, "base_layer", layer)
    device = model.device.type
    plain = type(layer) in (nn.Linear, HalfLinear) and "forward" not in vars(layer)
    autocast = torch.is_autocast_enabled(device)
    if not (plain and (autocast or layer.weight.dtype.itemsize == 2)):
        yield
        return
    narrow = torch.get_autocast_dtype(device) if autocast else layer.weight.dtype

    @functools.cache
    def converted() -> Tensor:
        return layer.weight.detach().to(narrow).float()

    def forward(x: Tensor) -> Tensor:
        x = x.to(narrow)
        if device == "cuda" or torch.is_grad_enabled():
            return _WideLinear.apply(x, layer.weight, layer.bias)
        with torch.autocast(device, enabled=False):  # `wide_product` would convert W at each step
            logits = F.linear(x.float(), converted())
        return logits if layer.bias is None else logits + layer.bias

    with forwards_replaced({layer: forward}):
        yield


class _WideLinear(torch.autograd.Function):
    """x W^T + b in float32, for x and W in the precision of x; the backward also sums its products in
    float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        flat = wide_product(x.flatten(0, -2), weight.to(x.dtype))
        return (flat if bias is None else flat + bias).view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs, grad = ctx.needs_input_grad, grad.flatten(0, -2)
        narrow = grad.to(x.dtype)
        d_x = wide_product(narrow, weight.to(x.dtype).T).view_as(x).to(x.dtype) if needs[0] else None
        d_weight = None
        if needs[1]:
            d_weight = wide_product(narrow.T, x.flatten(0, -2).T).to(gradient_dtype(weight))
        return d_x, d_weight, grad.sum(0) if needs[2] else None
