"""Linear layers for sampling: adapters folded in, weights laid out once for the processor's matrix product.

A matrix product first copies the weights into the layout its kernel reads. With thousands of rows that
is nothing; in a decode step of 64 rows it is a fifth of the time and with 8 rows half of it. Here the
copy is made once for a whole rollout. Low-rank adapters are folded into it, so sampling from an adapted
model costs no more than sampling from a plain one. The arithmetic stays float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from boresight.models.kernels.compact import HalfLinear
from boresight.models.kernels.libraries import libraries, onednn_linear
from boresight.models.kernels.matmul import onednn_product

ModuleForward = Callable[..., Tensor]
WORTHWHILE = 1000
"""Tokens from which packing is worthwhile: it costs about as much time as it saves for that many."""
UNFILLED = 64
"""Rows up to which products are not filled up to few sizes: the copies cost up to twice the product of a few
rows, and so few numbers of rows have few kernels (0.63 MB for each number and shape of a weight)."""


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
    with forwards_replaced(_replacements(model, _packed)):
        yield


@contextmanager
def folded_adapters(model: torch.nn.Module) -> Iterator[None]:
    """Inside the block linear layers with adapters compute from one weight, in the precision of their base's.

    The copies take as much memory as the adapted layers. They do not follow changes of the weights, and have
    no gradient. Layers that are more than a weight and its low-rank updates stay as they are.
    """
    with forwards_replaced(_replacements(model, _folded_into_base)):
        yield


@contextmanager
def forwards_replaced(forwards: Mapping[torch.nn.Module, ModuleForward]) -> Iterator[None]:
    """Inside the block each module in `forwards` uses that function as its forward; afterwards its former
    one."""
    before: dict[torch.nn.Module, Any] = {module: vars(module).get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module, forward in before.items():
            if forward is None:
                vars(module).pop("forward", None)
            else:
                module.forward = forward


def _replacements(
    model: torch.nn.Module, replacement: Callable[[torch.nn.Module], ModuleForward | None]
) -> dict[torch.nn.Module, ModuleForward]:
    """The `replacement` of each module of `model` that has one; a module inside such a module has none."""
    found: dict[torch.nn.Module, ModuleForward] = {}
    inside_adapters: set[torch.nn.Module] = set()
    for module in model.modules():  # an adapted layer comes before the layer that it wraps
        if module in inside_adapters or "forward" in vars(module):
            continue
        forward = replacement(module)
        if forward is not None:
            inside_adapters.update(module.modules())
            found[module] = forward
    return found


def _packed(module: torch.nn.Module) -> Callable[[Tensor], Tensor] | None:
    folded = _folded(module)
    return None if folded is None else _packed_forward(*folded)


def _folded_into_base(module: torch.nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The forward of a layer like the base of an adapted one, with the weight that the two amount to."""
    folded = _folded_lora(module, (torch.nn.Linear, HalfLinear))
    if folded is None:
        return None
    base: Any = module.base_layer
    layer = type(base)(base.in_features, base.out_features, bias=False, device="meta")
    layer.weight = torch.nn.Parameter(folded[0].to(base.weight.dtype), requires_grad=False)
    layer.bias = base.bias
    forward: Callable[[Tensor], Tensor] = layer.forward
    return forward


def _folded(module: torch.nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """Weight `(out, in)` and bias `(out,)` that the layer amounts to; None for what is not such a layer."""
    if type(module) is torch.nn.Linear:
        return (module.weight, module.bias) if module.weight.dtype == torch.float32 else None
    return _folded_lora(module, (torch.nn.Linear,))


def foldable_adapters(
    module: Any, bases: tuple[type[torch.nn.Linear], ...] = (torch.nn.Linear,)
) -> list[str] | None:
    """Names of the adapters of a layer whose weight is W plus the sum of their updates; None for a layer that
    computes anything else.

    `bases` are the classes that the adapted layer may have.
    """
    from peft.tuners.lora import Linear as LoraLinear

    if type(module) is not LoraLinear or type(module.base_layer) not in bases:
        return None
    active = [name for name in module.active_adapters if name in module.lora_A]
    plain = not module.disable_adapters and not module.merged and not module.lora_variant
    if not plain or any(module.lora_B[name].bias is not None for name in active):
        return None
    return active


def _folded_lora(
    module: Any, bases: tuple[type[torch.nn.Linear], ...]
) -> tuple[Tensor, Tensor | None] | None:
    """W + sum of the active adapters' updates on a layer of one of the classes `bases`; None where the layer
    does more than that."""
    active = foldable_adapters(module, bases)
    if active is None:
        return None
    weight = module.base_layer.weight
    for name in active:
        weight = weight + module.get_delta_weight(name)
    return weight, module.base_layer.bias


def _packed_forward(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    bias = None if bias is None else bias.detach()

    def forward(x: Tensor) -> Tensor:
        if x.shape[:-1].numel() <= UNFILLED:
            return onednn_linear(x, packed, bias)
        return onednn_product(x, packed, len(weight), bias)

    return forward
