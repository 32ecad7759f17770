"""The linear layers of a decoder whose outputs can be reused, and their backward.

The backward is that of an ordinary linear layer, which needs only the layer's input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from boresight.models.dropout import dropout_rates
from boresight.models.kernels.adapters import adapted_gradients
from boresight.models.kernels.fused import Linear
from boresight.models.kernels.linear import ModuleForward, foldable_adapters, forwards_replaced
from boresight.models.kernels.matmul import goes_in_place, product
from boresight.models.packed.last_layer import LastLayer
from boresight.models.packed.packing import PackedBatch
from boresight.models.reuse.store import LinearOutputs, reused

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Taken = Callable[[], Tensor]
"""Function that returns the output of a layer in a packed forward, `(1, T, out)`, as a new tensor."""


def reusable_linears(model: PreTrainedModel) -> list[nn.Module]:
    """Return the linear layers of the decoder inside `model`, plain or with one adapter, whose outputs can be
    reused.

    Empty if training computes the layers differently from sampling: with active dropout, disabled adapters or
    autocast. Also empty with activation checkpointing, which recomputes layers after the stored outputs are
    dropped.
    """
    decoder = model.base_model
    first = next(decoder.parameters())
    exact = first.device.type == "cpu" and first.dtype in (torch.float32, torch.float64)
    recomputed = getattr(decoder, "gradient_checkpointing", False)
    if not exact or torch.is_autocast_enabled("cpu") or recomputed or _drops(model):
        return []
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in decoder.modules():  # an adapted layer comes before the layer that it wraps
        if module in inside or "forward" in vars(module):
            continue
        if hasattr(module, "lora_A"):
            if len(foldable_adapters(module) or ()) != 1:
                return []
            inside.update(module.modules())
            found.append(module)
        elif type(module) is nn.Linear:
            found.append(module)
    return found


def _drops(model: PreTrainedModel) -> bool:
    active = any(isinstance(m, nn.Dropout) and m.training and m.p > 0 for m in model.modules())
    return active or (model.training and bool(dropout_rates(model.config)))


@contextmanager
def linears_reused(
    model: PreTrainedModel, batch: PackedBatch, last: LastLayer | None = None, positions: Tensor | None = None
) -> Iterator[None]:
    """Inside the block, a forward of `batch` uses the stored outputs of linear layers that `reusing` provides
    for it.

    Args:
        last: modules that are computed only at `positions` (`last_layer_at`).
    """
    outputs = reused()
    slots = None if outputs is None else outputs.slots_of(batch)
    if outputs is None or slots is None:
        yield
        return
    last_modules = {m for part in last.inside for m in part.modules()} if last is not None else set()
    forwards: dict[nn.Module, ModuleForward] = {}
    for module in reusable_linears(model):
        own = slots[positions] if positions is not None and module in last_modules else slots
        if (taken := _taken(outputs, module, own)) is not None:
            forwards[module] = _stored_forward(module, taken)
    with forwards_replaced(forwards):
        yield


def _taken(outputs: LinearOutputs, module: nn.Module, slots: Tensor) -> Taken | None:
    buffer = outputs.buffer(module)
    return None if buffer is None else partial(_rows, buffer, slots)


def _rows(buffer: Tensor, slots: Tensor) -> Tensor:
    return buffer.index_select(0, slots)[None]


def _stored_forward(module: Any, taken: Taken) -> ModuleForward:
    if not hasattr(module, "lora_A"):
        return lambda x: StoredLinear.apply(x, module.weight, module.bias, taken)
    name = next(name for name in module.active_adapters if name in module.lora_A)
    base, down, up = module.base_layer, module.lora_A[name], module.lora_B[name]
    scale = module.scaling[name]
    return lambda x: StoredLora.apply(x, base.weight, base.bias, down.weight, up.weight, scale, taken)


class StoredLinear(torch.autograd.Function):
    """x W^T + b, whose value is the stored output that `taken` returns."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, taken: Taken) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        ctx.in_place = goes_in_place(weight)
        return taken()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *Linear.backward(ctx, grad), None


class StoredLora(torch.autograd.Function):
    """x W^T + b + scale * (x A^T) B^T, whose value is the stored output that `taken` returns."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
        taken: Taken,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, down, up)
        ctx.in_place = [goes_in_place(matrix) for matrix in (weight, down, up)]
        ctx.scale = scale
        return taken()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up = ctx.saved_tensors
        inner = product(x, down).mul_(ctx.scale)
        return *adapted_gradients(ctx, grad, x, inner, weight, down, up), None, None
