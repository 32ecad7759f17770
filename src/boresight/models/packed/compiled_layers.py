"""Compile the layers of a decoder for the packed layout (`model.kernels: fast`).

`torch.compile` turns norms, rotary embeddings and gates, some twenty small kernels before and after the
attention of a layer, into a few. Attention is a custom operator, opaque to the compiler (`shared_prefix`).

A compiled graph is valid for the shapes of its inputs. Forwards are padded to one of a few lengths
(`filled_forwards`), all layers of a model have the same shapes, and the lengths of rows are passed as
tensors. So there is one graph per length, with and without gradients, and no batch causes a recompilation. A
forward of another length, which occurs for a row longer than a full forward, is not compiled.

With activation checkpointing by transformers, the backward would recompute a layer outside of the context in
which it is compiled, with other kernels than in its forward. So inside that context, this module checkpoints
the layers, around their compiled forwards.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from boresight.models.kernels.linear import forwards_replaced
from boresight.models.packed.last_layer import layers_of
from boresight.models.packed.packing import PackedBatch, few_lengths
from boresight.models.packed.shared_prefix import CallTensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def can_compile(model: PreTrainedModel, packed: PackedBatch) -> bool:
    """Whether the layers of `model` may run compiled on `packed`."""
    fast = packed.calls is not None and not packed.plain
    return fast and packed.ids.shape[1] in few_lengths() and layers_of(model) is not None


@contextmanager
def compiled_layers(model: PreTrainedModel, packed: PackedBatch) -> Iterator[None]:
    """Inside the block, the layers of `model` run compiled; every forward must be on `packed`, and
    `can_compile` must hold.

    Raises:
        Exception: in a forward inside the block, the exception of `torch.compile` if a layer is not one
            graph.
    """
    assert packed.calls is not None
    torch._dynamo.mark_dynamic(packed.calls.tensors.bounds, 0)
    layers = list(layers_of(model) or ())
    replaced = forwards_replaced({layer: _compiled(layer, packed.calls.tensors) for layer in layers})
    with replaced, _without_checkpoints(layers):
        yield


def _compiled(layer: nn.Module, calls: CallTensors) -> Callable[..., Tensor]:
    run = compiled_forward(type(layer))  # type: ignore[arg-type]  # the class is hashable, as all are
    recomputed = _is_recomputed(layer) and layer.training and torch.is_grad_enabled()

    def forward(*args: Any, packed: PackedBatch, **kwargs: Any) -> Tensor:
        call = functools.partial(run, layer, calls=calls, **kwargs)
        return cast("Tensor", checkpoint(call, *args, use_reentrant=False)) if recomputed else call(*args)

    return forward


def _is_recomputed(layer: nn.Module) -> bool:
    return bool(getattr(layer, "gradient_checkpointing", False))


@contextmanager
def _without_checkpoints(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Inside the block, disable transformers' activation checkpointing of `layers`."""
    recomputed: list[Any] = [layer for layer in layers if _is_recomputed(layer)]
    for layer in recomputed:
        layer.gradient_checkpointing = False
    try:
        yield
    finally:
        for layer in recomputed:
            layer.gradient_checkpointing = True


@functools.cache
def compiled_forward(kind: type[nn.Module], backend: Any = "inductor") -> Callable[..., Tensor]:
    """Return the forward of a layer class, compiled as one graph by the given `backend` of torch."""
    from boresight.models.packed.flex import with_many_graphs

    # Without transformers' wrapper for checkpoints, so that one graph serves with and without them.
    return with_many_graphs(torch.compile(inspect.unwrap(kind.forward), fullgraph=True, backend=backend))
