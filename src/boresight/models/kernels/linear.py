"""Linear layers with their weights laid out once for the processor's matrix product.

A matrix product first copies the weights into the layout its kernel reads. With thousands of rows that
is nothing; in a decode step of 64 rows it is a fifth of the time and with 8 rows half of it. Here the
copy is made once for a whole rollout. Low-rank adapters are folded into it, so sampling from an adapted
model costs no more than sampling from a plain one. The arithmetic stays float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from boresight.models.kernels.libraries import libraries
from boresight.models.kernels.matmul import onednn_product

WORTHWHILE = 1000
"""Tokens from which packing is worthwhile: it costs about as much time as it saves for that many."""


def can_pack(model: torch.nn.Module) -> bool:
    """Whether packing helps: on a CPU, in float32, if oneDNN decodes faster than BLAS."""
    weight = next(model.parameters())
    on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
    return on_cpu and libraries().decoding == "onednn"


@contextmanager
def packed_linears(model: torch.nn.Module) -> Iterator[None]:
    """Inside the block the linear layers of `model` compute from a packed copy of their weights.

    The copy takes as much memory as the weights. Later changes of the weights have no effect on it, and it
    has no gradient.
    """
    changed: list[torch.nn.Module] = []
    inside_adapters: set[torch.nn.Module] = set()
    try:
        for module in model.modules():  # an adapted layer comes before the layer that it wraps
            folded = _folded(module)
            if folded is None or module in inside_adapters or "forward" in vars(module):
                continue
            inside_adapters.update(module.modules())
            module.forward = _packed_forward(*folded)
            changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward


def _folded(module: torch.nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """Weight `(out, in)` and bias `(out,)` that the layer amounts to; None for what is not such a layer."""
    if type(module) is torch.nn.Linear:
        return (module.weight, module.bias) if module.weight.dtype == torch.float32 else None
    return _folded_lora(module)


def _folded_lora(module: torch.nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """W + sum of the active adapters' updates; None where the layer does more than that."""
    from peft.tuners.lora import Linear as LoraLinear

    if type(module) is not LoraLinear or type(module.base_layer) is not torch.nn.Linear:
        return None
    active = [name for name in module.active_adapters if name in module.lora_A]
    plain = not module.disable_adapters and not module.merged and not module.lora_variant
    if not plain or any(module.lora_B[name].bias is not None for name in active):
        return None
    weight = module.base_layer.weight
    for name in active:
        weight = weight + module.get_delta_weight(name)
    return weight, module.base_layer.bias


def _packed_forward(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    bias = None if bias is None else bias.detach()

    def forward(x: Tensor) -> Tensor:
        return onednn_product(x, packed, len(weight), bias)

    return forward
