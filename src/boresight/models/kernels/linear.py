"""Linear layers for sampling: adapters are merged, and weights are packed once for the processor's matrix
product.

A matrix product first copies the weights into the layout that its kernel reads. With thousands of rows the
time for that is negligible; in a decoding step it is a fifth of the time with 64 rows and half of it with 8
rows. Here the copy is made once for a whole rollout. Low-rank adapters are merged into it, so sampling from
an adapted model costs no more than sampling from a plain one. Computations stay float32.
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
"""Minimum number of tokens for which packing is worthwhile: for so many it saves about as much time as it
takes."""
UNFILLED = 64
"""Maximum number of rows for which products are not padded to one of a few sizes.

For a few rows, the copies would cost up to twice the product, and so few row counts need few kernels (0.63 MB
for each row count and shape of a weight).
"""


def can_pack(model: torch.nn.Module) -> bool:
    """Whether packing helps: the model is on a CPU in float32, and oneDNN is faster than BLAS in decoding."""
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
    """Inside the block, linear layers with adapters compute from one merged weight, in the dtype of the base
    weight.

    The copies take as much memory as the adapted layers. Later changes of the weights do not affect them, and
    they have no gradient. Layers that compute more than a weight and its low-rank updates are not replaced.
    """
    with forwards_replaced(_replacements(model, _folded_into_base)):
        yield


@contextmanager
def forwards_replaced(forwards: Mapping[torch.nn.Module, ModuleForward]) -> Iterator[None]:
    """Inside the block, each module in `forwards` uses the given function as its forward; afterwards it is
    restored."""
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
    """Return the `replacement` of each module of `model` that has one, except modules inside such a
    module."""
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
    """Return the forward of a layer of the base's class with the adapters merged into its weight; None if not
    possible."""
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
    """Return weight `(out, in)` and bias `(out,)` of the equivalent linear layer in float32; None if there is
    none."""
    if type(module) is torch.nn.Linear:
        return (module.weight, module.bias) if module.weight.dtype == torch.float32 else None
    return _folded_lora(module, (torch.nn.Linear,))


def foldable_adapters(
    module: Any, bases: tuple[type[torch.nn.Linear], ...] = (torch.nn.Linear,)
) -> list[str] | None:
    """Return the active adapters' names of a layer that computes W plus the sum of their updates; None for
    other layers.

    Args:
        bases: classes that the adapted layer may have.
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
    """Return W plus the updates of the active adapters, and the bias; None if the layer computes anything
    else.

    Args:
        bases: classes that the adapted layer may have.
    """
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
