"""Store frozen weights in fewer bytes: in bfloat16, or in 4 bits in blocks of 64 (NF4).

In a run that computes in bfloat16, storage in bfloat16 changes no training step: matrix products round the
weights to bfloat16 in any case. Embeddings are looked up without rounding, so they are stored in bfloat16
only if that is exact, as it is for most published models. Norms, biases and layers of other classes stay
float32. NF4 does change the model (Dettmers et al. 2023, arXiv 2305.14314).
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
"""Number of weights that share a scale, and number of scales that share an outer scale."""


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
    """Return the frozen layers of exactly this class; subclasses are excluded, since they may use the weight
    differently."""
    layers = [module for module in model.modules() if type(module) is kind]
    return [layer for layer in layers if not layer.weight.requires_grad and layer.weight.is_floating_point()]


def _used_elsewhere(model: nn.Module, layers: Sequence[nn.Module]) -> set[int]:
    """Return the ids of the parameters of all modules except `layers`; a layer may share its weight with one
    of them."""
    own = {id(layer) for layer in layers}
    return {id(p) for m in model.modules() if id(m) not in own for p in m.parameters(recurse=False)}


def _inexact(model: nn.Module, head: nn.Module | None) -> set[int]:
    """Return the ids of weights that are read without rounding and cannot be represented exactly in bfloat16.

    These are weights of embeddings and of the head: the gradient of a frozen head reads its rows of the
    targets.
    """
    read = [layer.weight for layer in _of_class(model, nn.Embedding)]
    if isinstance(head, nn.Linear):
        read.append(head.weight)
    return {id(weight) for weight in read if not _exact_in_bfloat16(weight)}


def _exact_in_bfloat16(weight: Tensor) -> bool:
    return all(torch.equal(rows.bfloat16().float(), rows.float()) for rows in weight.split(4096))


def _rest_in_float32(model: nn.Module) -> None:
    """Convert the bfloat16 parameters of all other modules, such as norms, to float32."""
    kept = {id(p) for m in model.modules() if isinstance(m, COMPACT) for p in m.parameters(recurse=False)}
    for parameter in model.parameters():
        if parameter.dtype == torch.bfloat16 and id(parameter) not in kept:
            parameter.data = parameter.data.float()


def is_compact(model: nn.Module) -> bool:
    """Whether some weights of `model` are stored in bfloat16 or 4 bits by this module, so that products are
    rounded."""
    return any(isinstance(module, COMPACT) for module in model.modules())


def dtype_of_products(model: nn.Module) -> torch.dtype | None:
    """Return the precision in which frozen compact layers multiply; None if products use the precision of the
    input."""
    for module in model.modules():
        if isinstance(module, HalfLinear):
            return torch.bfloat16
        if isinstance(module, NF4Linear):
            return module.compute
    return None


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters of `model`; a weight in 4 bits counts as one parameter."""
    packed = [module for module in model.modules() if isinstance(module, NF4Linear)]
    stored = sum(p.numel() for layer in packed for p in layer.quantized)
    weights = sum(layer.in_features * layer.out_features for layer in packed)
    return sum(p.numel() for p in model.parameters()) - stored + weights


class HalfLinear(nn.Linear):
    """A frozen linear layer in bfloat16; its output has the dtype of its input, or bfloat16 under
    autocast."""

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

    `weight` contains two weights per byte, and `scales` one byte per block, which is scaled by `outer` and
    shifted by `offset`. `scale_values` `(256,)` is the value of each byte of `scales`. It is stored here
    because the library's own copy of this constant stays on the CPU, and would be copied to a GPU for every
    product.
    """

    scales: Tensor
    scale_values: Tensor
    outer: Tensor
    offset: Tensor
    compute: torch.dtype

    def quantize(self, compute: torch.dtype) -> None:
        """Replace the weight by its 4-bit form; products are computed in the precision `compute`.

        Raises:
            UserError: bitsandbytes is not installed.
        """
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
        """Return the dequantized weights, `(out, in)`, in the precision in which the layer computes."""
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
    """x W^T with 4-bit W; the backward dequantizes W once more, so that it is not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: NF4Linear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.unpacked())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ ctx.layer.unpacked(), None


COMPACT = (HalfLinear, HalfEmbedding, NF4Linear)


def _constant(values: Tensor) -> nn.Parameter:
    """Return a frozen parameter, which moves with the layer and is included in digests of the weights."""
    return nn.Parameter(values, requires_grad=False)


def load_bitsandbytes(setting: str) -> Any:
    """Import and return bitsandbytes.

    Args:
        setting: name of the setting that needs it, for the error.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes
    except ImportError as error:
        raise UserError(
            f"{setting} needs bitsandbytes; pip install 'boresight[bitsandbytes]', or leave the setting out."
        ) from error
    return bitsandbytes


def _functions() -> Any:
    return load_bitsandbytes("model.lora.base: nf4").functional
