"""The layers of a decoder with fewer passes over memory, swapped in for one forward on a CPU.

Three things, each the same function of the same numbers as what it stands in for:

- RMSNorm and the gated MLP as one autograd node each, which keep what only a product could bring back
  and recompute the rest, cheap and elementwise, in the backward;
- matrix products by oneDNN instead of MKL on AMD processors, where it is the faster of the two.

Measured on two shared AMD EPYC (Zen 4) cores under load, one thread, processor seconds for a forward
and backward of SmolLM2-135M's shape on one pair of 240 + 2 x 105 tokens, mean of alternating runs: eager
5.27 s, fused 4.67 s. Peak memory of two pairs: 3.35 GB eager, 3.05 GB fused.

A class of layers is compared with its stand-in once, on numbers, before it is ever replaced. What is
not recognised stays as it is, and after the forward everything is as it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
Recipe = Callable[[Any], Forward]

_recipes: dict[tuple[type, type], Recipe | None] = {}
"""By class of layer and of its activation, if it has one."""


@contextmanager
def fused_layers(decoder: nn.Module) -> Iterator[None]:
    """Inside the block the layers of `decoder` that have a faster equal use it.

    Does nothing off the CPU, in other precisions than float32, and under activation checkpointing, whose
    recomputation runs after the block and must save the same tensors.
    """
    changed: list[nn.Module] = []
    try:
        if _applies(decoder):
            for module in decoder.modules():
                recipe = None if "forward" in vars(module) else _recipe_of(module)
                if recipe is not None:
                    module.forward = recipe(module)
                    changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward


def product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T`, no gradient: `(…, in)` by `(out, in)`."""
    if _onednn_is_faster() and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and len(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return x @ weight.T


def outer(grad: Tensor, x: Tensor) -> Tensor:
    """`grad.T @ x` over all tokens, the gradient of a weight: `(…, out)` and `(…, in)` to `(out, in)`."""
    return grad.flatten(0, -2).T @ x.flatten(0, -2)


def _applies(decoder: nn.Module) -> bool:
    first = next(decoder.parameters())
    return (
        first.device.type == "cpu"
        and first.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not (getattr(decoder, "gradient_checkpointing", False) and torch.is_grad_enabled())
    )


def _recipe_of(module: nn.Module) -> Recipe | None:
    if type(module) is nn.Linear:
        small = module.weight.dtype != torch.float32
        return None if small or not _onednn_is_faster() else _linear
    kind = (type(module), type(getattr(module, "act_fn", None)))
    if kind not in _recipes:
        _recipes[kind] = _tried(module)
    return _recipes[kind]


@torch.no_grad()
def _tried(module: Any) -> Recipe | None:
    """The recipe under which `module` gives what it gives now, or None."""
    if type(module).__name__.endswith("RMSNorm") and isinstance(
        getattr(module, "weight", None), nn.Parameter
    ):
        candidates: list[Recipe] = [functools.partial(_rms_norm, shift=shift) for shift in (0.0, 1.0)]
        width = module.weight.shape[0]
    elif {"gate_proj", "up_proj", "down_proj"} <= module._modules.keys():
        candidates, width = [_gated_mlp], module.gate_proj.weight.shape[1]
    else:
        return None
    x = torch.linspace(-2, 3, 3 * width).sin().view(1, 3, width)
    expected = module(x)
    for candidate in candidates:
        if torch.allclose(candidate(module)(x), expected, rtol=1e-5, atol=1e-6):
            return candidate
    return None


def _rms_norm(module: Any, shift: float) -> Forward:
    eps = getattr(module, "variance_epsilon", None) or getattr(module, "eps", 0.0)
    return lambda x: RMSNorm.apply(x, module.weight, eps, shift)


def _gated_mlp(module: Any) -> Forward:
    gate, up, down = module.gate_proj, module.up_proj, module.down_proj
    if all(type(layer) is nn.Linear and layer.bias is None for layer in (gate, up, down)):
        return lambda x: GatedMLP.apply(x, gate.weight, up.weight, down.weight)
    return lambda x: down(SwiGLU.apply(gate(x), up(x)))  # adapters or biases inside


def _linear(module: Any) -> Forward:
    return lambda x: Linear.apply(x, module.weight, module.bias)


class RMSNorm(torch.autograd.Function):
    """y = x / rms(x) * (shift + weight), over the last dimension; keeps x and 1 / rms."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, shift: float) -> Tensor:
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        inverse.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        ctx.shift = shift
        return (x * inverse).mul_(shift + weight if shift else weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """With n = x / rms and g = grad * weight: d x = (g - n * mean(g * n)) / rms."""
        x, weight, inverse = ctx.saved_tensors
        n = x * inverse
        d_weight = (grad * n).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        g = grad * (ctx.shift + weight if ctx.shift else weight)
        along = (g * n).mean(-1, keepdim=True)
        return g.sub_(n.mul_(along)).mul_(inverse), d_weight, None, None


class GatedMLP(torch.autograd.Function):
    """(silu(x G^T) * (x U^T)) D^T; keeps x and the two inputs of the gate, not their product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        gated, raised = product(x, gate), product(x, up)
        trained = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        ctx.save_for_backward(x if trained else None, gate, up, down, gated, raised)
        return product(F.silu(gated).mul_(raised), down)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, up, down, gated, raised = ctx.saved_tensors
        opened = F.silu(gated)
        d_inner = product(grad, down.T)
        d_down = outer(grad, opened * raised) if ctx.needs_input_grad[3] else None
        d_raised = opened.mul_(d_inner)
        d_gated = torch.ops.aten.silu_backward(d_inner.mul_(raised), gated)
        return (
            product(d_gated, gate.T).add_(product(d_raised, up.T)) if ctx.needs_input_grad[0] else None,
            outer(d_gated, x) if ctx.needs_input_grad[1] else None,
            outer(d_raised, x) if ctx.needs_input_grad[2] else None,
            d_down,
        )


class SwiGLU(torch.autograd.Function):
    """silu(gate) * up; keeps its two inputs alone."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        d_up = F.silu(gate).mul_(grad)
        return torch.ops.aten.silu_backward(grad * up, gate), d_up


class Linear(torch.autograd.Function):
    """x W^T + b by oneDNN, forward and gradient of x; MKL is as fast or faster for the gradient of W."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return (
            product(grad, weight.T) if ctx.needs_input_grad[0] else None,
            outer(grad, x) if ctx.needs_input_grad[1] else None,
            grad.flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None,
        )


@functools.cache
def _onednn_is_faster() -> bool:
    """True on AMD: 8 to 12 % there (Zen 4, products of 450 to 1800 rows). Fixed per machine, not timed at
    run time, so that a run resumes to the same bits."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
