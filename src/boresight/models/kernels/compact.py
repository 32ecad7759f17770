"""Frozen weights in fewer bytes: bfloat16, or 4 bits in blocks of 64 (NF4), with the computation in the
precision of the run.

In a run that computes in bfloat16 the first changes no training step: its matrix products round the weights
to bfloat16 in any case. Embeddings are looked up without rounding, so they are stored in bfloat16 only where
that is exact, as it is for most published models. Norms, biases and layers of other classes stay float32. NF4
does change the model (Dettmers et al. 2023, arXiv 2305.14314).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boresight.core.errors import UserError

BaseForm = Literal["float32", "bfloat16", "nf4"]
L = TypeVar("L", nn.Linear, nn.Embedding)
BLOCK, OUTER_BLOCK = 64, 256
"""Weights that share a scale, and scales that share one."""


def compact_frozen(model: nn.Module, form: BaseForm, compute: torch.dtype, head: nn.Module | None) -> None:
    """Store the frozen weights of linear layers and embeddings as `form`, in place.

    Args:
        model: a model with its adapters attached; trained weights stay float32.
        compute: precision of the run; the form bfloat16 requires bfloat16.
        head: the output layer, which NF4 does not quantize.
    """
    if form == "float32":
        return
    half = compute == torch.bfloat16
    layers = [*_of_class(model, nn.Linear), *_of_class(model, nn.Embedding)]
    kept = _used_elsewhere(model, layers) | _inexact(model, head)
    for module in layers:
        if form == "nf4" and type(module) is nn.Linear and module is not head:
            module.__class__ = NF4Linear
            module.quantize(compute)  # type: ignore[operator]  # it has just become one
        elif half and id(module.weight) not in kept:
            module.weight.data = module.weight.data.to(torch.bfloat16)
            module.__class__ = HalfLinear if type(module) is nn.Linear else HalfEmbedding
    _rest_in_float32(model)


def _of_class(model: nn.Module, kind: type[L]) -> list[L]:
    """Frozen layers of exactly this class: another one may use its weight in its own way."""
    layers = [module for module in model.modules() if type(module) is kind]
    return [layer for layer in layers if not layer.weight.requires_grad and layer.weight.is_floating_point()]


def _used_elsewhere(model: nn.Module, layers: Sequence[nn.Module]) -> set[int]:
    """Parameters of other modules, with which a layer may share its weight."""
    own = {id(layer) for layer in layers}
    return {id(p) for m in model.modules() if id(m) not in own for p in m.parameters(recurse=False)}


def _inexact(model: nn.Module, head: nn.Module | None) -> set[int]:
    """Weights that are read without rounding somewhere, and have more digits than bfloat16.

    The gradient of a frozen head reads the rows of the targets.
    """
    read = [layer.weight for layer in _of_class(model, nn.Embedding)]
    if isinstance(head, nn.Linear):
        read.append(head.weight)
    return {id(weight) for weight in read if not _exact_in_bfloat16(weight)}


def _exact_in_bfloat16(weight: Tensor) -> bool:
    return all(torch.equal(rows.bfloat16().float(), rows.float()) for rows in weight.split(4096))


def _rest_in_float32(model: nn.Module) -> None:
    """Widen what was loaded in bfloat16 and is neither stored so nor trained, such as norms."""
    kept = {id(p) for m in model.modules() if isinstance(m, COMPACT) for p in m.parameters(recurse=False)}
    for parameter in model.parameters():
        if parameter.dtype == torch.bfloat16 and id(parameter) not in kept:
            parameter.data = parameter.data.float()


def is_compact(model: nn.Module) -> bool:
    """Whether some weights of `model` are stored in fewer bytes, so that its matrix products are rounded."""
    return any(isinstance(module, COMPACT) for module in model.modules())


def dtype_of_products(model: nn.Module) -> torch.dtype | None:
    """Precision in which frozen layers multiply regardless of their input; None if they use that of the
    input."""
    for module in model.modules():
        if isinstance(module, HalfLinear):
            return torch.bfloat16
        if isinstance(module, NF4Linear):
            return module.compute
    return None


def count_parameters(model: nn.Module) -> int:
    """Number of parameters of `model`; a 4-bit weight counts as one."""
    packed = [module for module in model.modules() if isinstance(module, NF4Linear)]
    stored = sum(p.numel() for layer in packed for p in layer.quantized)
    weights = sum(layer.in_features * layer.out_features for layer in packed)
    return sum(p.numel() for p in model.parameters()) - stored + weights


class HalfLinear(nn.Linear):
    """A frozen linear layer in bfloat16. Returns the dtype of its input, or bfloat16 under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        out = F.linear(x.to(weight.dtype), weight, None if bias is None else bias.to(weight.dtype))
        return out if torch.is_autocast_enabled(x.device.type) else out.to(x.dtype)


class HalfEmbedding(nn.Embedding):
    """A frozen embedding in bfloat16 that returns float32."""

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids).float()


class NF4Linear(nn.Linear):
    """A frozen linear layer of 4-bit weights, which are dequantized for each product and then freed.

    `weight` holds two weights per byte; `scales` is one byte per block, `outer` and `offset` scale those.
    `scale_values` is the number that each byte of `scales` stands for, `(256,)`. The library's own copy of
    this constant stays on the CPU, and would be copied to a GPU for every product.
    """

    scales: Tensor
    scale_values: Tensor
    outer: Tensor
    offset: Tensor
    compute: torch.dtype

    def quantize(self, compute: torch.dtype) -> None:
        """Replace the weight by its 4-bit form. Raises `UserError` where bitsandbytes is not installed."""
        library = _functions()
        packed, state = library.quantize_4bit(
            self.weight.data.float(), blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
        )
        self.weight = _constant(packed)
        self.scales, self.outer = _constant(state.absmax), _constant(state.state2.absmax)
        self.offset, self.compute = _constant(state.offset.reshape(1)), compute
        self.register_buffer("scale_values", state.state2.code, persistent=False)

    @property
    def quantized(self) -> tuple[Tensor, ...]:
        """The tensors that hold the quantized weights."""
        return self.weight, self.scales, self.outer, self.offset

    def unpacked(self) -> Tensor:
        """The weights, `(out, in)`, in the dtype that the layer computes in."""
        library = _functions()
        scales = library.dequantize_blockwise(
            self.scales, absmax=self.outer, code=self.scale_values, blocksize=OUTER_BLOCK
        )
        shape = torch.Size((self.out_features, self.in_features))
        state = library.QuantState(
            absmax=scales + self.offset, shape=shape, dtype=self.compute, blocksize=BLOCK, quant_type="nf4"
        )
        unpacked: Tensor = library.dequantize_4bit(self.weight, state)
        return unpacked

    def forward(self, x: Tensor) -> Tensor:
        out = _Product.apply(x.to(self.compute), self)
        if self.bias is not None:
            out = out + self.bias.to(out.dtype)
        return out if torch.is_autocast_enabled(x.device.type) else out.to(x.dtype)


class _Product(torch.autograd.Function):
    """x W^T; the backward multiplies the weights out again, where autograd would have kept them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: NF4Linear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.unpacked())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ ctx.layer.unpacked(), None


COMPACT = (HalfLinear, HalfEmbedding, NF4Linear)


def _constant(values: Tensor) -> nn.Parameter:
    """A parameter, so that it moves with the layer and counts in digests of the weights."""
    return nn.Parameter(values, requires_grad=False)


def load_bitsandbytes(setting: str) -> Any:
    """The library. Raises `UserError` where it is not installed; `setting` is what needs it."""
    try:
        import bitsandbytes
    except ImportError as error:
        raise UserError(
            f"{setting} needs bitsandbytes; pip install 'boresight[bitsandbytes]', or leave the setting out."
        ) from error
    return bitsandbytes


def _functions() -> Any:
    return load_bitsandbytes("model.lora.base: nf4").functional
