"""Matrix products by the faster of two libraries, and weight gradients that are accumulated in place.

autograd returns a weight's gradient as a new tensor, which is then added to `.grad`: two more passes over as
much memory as the model has, for every forward of a step. Inside `gradients_in_place` the backward of this
package's autograd functions adds the product to `.grad` itself (the product's beta = 1) and returns no
gradient to autograd. The resulting `.grad` is the same.

oneDNN compiles its kernels for each shape and keeps them: 0.63 MB per shape, of which 0.29 MB are never
freed, not even when its cache of 1,024 kernels is full or disabled (torch 2.13). Rows of every length would
need some 9 MB for each number of tokens, scattered among the activations. So the operands of products by
oneDNN are padded with rows of zeros to one of a few sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

from boresight.models.kernels.libraries import libraries, onednn_linear

NARROW = 64
"""Minimum width for which rows are padded for oneDNN.

In narrower products, such as those of low-rank adapters, padding costs as much as oneDNN saves.
"""
FEWEST_ROWS = 8

_in_place: ContextVar[bool] = ContextVar("gradients_in_place", default=False)


@contextmanager
def gradients_in_place(allowed: bool = True) -> Iterator[None]:
    """For graphs built inside the block, let `backward()` add gradients to `.grad` directly, without
    autograd.

    Use it only if plain `backward()` is called on these graphs and `.grad` is read: `torch.autograd.grad`
    would find no gradient of these weights.
    """
    before = _in_place.set(allowed)
    try:
        yield
    finally:
        _in_place.reset(before)


def goes_in_place(weight: Tensor) -> bool:
    """Whether an autograd node that is created now may add the gradient of `weight` to `.grad` in its
    backward.

    False if `weight` has hooks, which would be bypassed.
    """
    hooks = weight._backward_hooks or getattr(weight, "_post_accumulate_grad_hooks", None)
    return _in_place.get() and weight.is_leaf and weight.requires_grad and not hooks


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x @ weight.T + bias` without a gradient, for `x` `(…, in)` and `weight` `(out, in)`."""
    if _float32_on_cpu(x, weight) and x.numel() and libraries().products == "onednn":
        rows = x.shape[:-1].numel()
        if min(weight.shape) >= NARROW or filled_rows(rows) == rows:
            return onednn_product(x, weight, weight.shape[0], bias)
    return F.linear(x, weight, bias)


def _float32_on_cpu(x: Tensor, weight: Tensor) -> bool:
    return x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"


def onednn_product(x: Tensor, weight: Tensor, out: int, bias: Tensor | None = None) -> Tensor:
    """Return `x @ weight.T + bias` by oneDNN, without a gradient; `x` is padded with rows of zeros to one of
    a few sizes.

    `weight` may be in oneDNN's own layout, which hides its shape; `out` is its number of rows.
    """
    rows = x.shape[:-1].numel()
    filler = filled_rows(rows) - rows
    if filler:
        filled = x.new_empty(rows + filler, x.shape[-1])
        filled[:rows].view(x.shape).copy_(x)
        filled[rows:].zero_()
        x, shape = filled, (*x.shape[:-1], out)
    result = onednn_linear(x, weight, bias)
    return result[:rows].view(shape) if filler else result


def filled_rows(rows: int) -> int:
    """Return the number of rows to which `rows` is padded: at most a sixteenth more, or a multiple of
    `FEWEST_ROWS`.

    There are 16 such numbers between a power of two and its double. A single row is not padded: oneDNN
    computes it by another kernel, which rounds differently.
    """
    if rows < 2:
        return rows
    step = max(FEWEST_ROWS, 1 << max(0, (rows // 16).bit_length() - 1))
    return -(-rows // step) * step


def wide_product(x: Tensor, weight: Tensor) -> Tensor:
    """Return `x @ weight.T` without a gradient; products in half precision return their sums in float32,
    unrounded.

    `x` is `(n, in)` and `weight` `(out, in)`. In other precisions the function is `product`. On CUDA, torch
    supports this from version 2.8 on; with earlier versions the sums are rounded. On other devices the
    operands are converted first: products of two half-precision numbers are exact in float32.
    """
    if x.dtype not in (torch.bfloat16, torch.float16):
        return product(x, weight)
    with torch.autocast(x.device.type if x.device.type != "meta" else "cpu", enabled=False):
        if x.device.type not in ("cuda", "meta"):
            return F.linear(x.float(), weight.float())
        if "dtype" in torch.ops.aten.mm.overloads():
            return torch.mm(x, weight.T, out_dtype=torch.float32)
        return F.linear(x, weight).float()


def start_of_gradient(weight: Tensor, in_place: bool) -> Tensor:
    """Return the tensor to which the gradient of `weight` is added: `.grad` if it exists and `in_place`, else
    zeros."""
    if in_place and weight.grad is not None:
        return weight.grad
    return torch.zeros_like(weight, dtype=gradient_dtype(weight))


def gradient_dtype(weight: Tensor) -> torch.dtype:
    """Return the precision in which gradients of a parameter are summed: its own, or a wider one that was set
    for it."""
    wider = getattr(weight, "grad_dtype", None) if weight.is_leaf else None  # only leaves have the attribute
    return wider or weight.dtype


def add_outer(total: Tensor, grad: Tensor, x: Tensor) -> None:
    """Compute total += grad.T @ x, in one pass if all have the same precision.

    `total` is `(out, in)`, `grad` `(n, out)` and `x` `(n, in)`. Half-precision products are added to a wider
    total without being rounded first.
    """
    if total.dtype != x.dtype:
        total.add_(wide_product(grad.T, x.T))
    elif _outer_by_onednn(total, x):
        total.add_(onednn_outer(grad, x))
    else:
        total.addmm_(grad.T, x)


def add_rows(total: Tensor, places: Tensor, rows: Tensor) -> None:
    """Compute total[places[i]] += rows[i] for every i, in the precision of the total.

    `places` is `(n,)` and `rows` `(n, width)`. On a GPU the indices are sorted, so that repeated rows are
    summed in the same order every time; with `index_add_` the order would depend on the timing of threads.
    """
    rows = rows.to(total.dtype)
    if total.is_cuda:
        total.index_put_((places,), rows, accumulate=True)
    else:
        total.index_add_(0, places, rows)


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, in_place: bool) -> Tensor | None:
    """Return `grad.T @ x` over all tokens, for `grad` `(…, out)` and `x` `(…, in)`; None if it was added to
    `.grad`."""
    grad, x = grad.flatten(0, -2), x.flatten(0, -2)
    if in_place and weight.grad is not None:
        add_outer(weight.grad, grad, x)
        return None
    outer = onednn_outer(grad, x) if _outer_by_onednn(weight, x) else grad.T @ x
    if not in_place:
        return outer
    weight.grad = outer
    return None


def _outer_by_onednn(weight: Tensor, x: Tensor) -> bool:
    wide = _float32_on_cpu(x, weight) and min(weight.shape) >= NARROW
    return wide and len(x) > 0 and libraries().weight_gradients == "onednn"


def onednn_outer(grad: Tensor, x: Tensor) -> Tensor:
    """Return `grad.T @ x` by oneDNN; both operands are padded with rows of zeros to one of a few sizes.

    `grad` is `(n, out)` and `x` `(n, in)`.
    """
    filler = filled_rows(len(x)) - len(x)
    if filler:
        grad, x = (F.pad(part, (0, 0, 0, filler)) for part in (grad, x))
    return onednn_linear(grad.T, x.T)
