"""Clip gradients, and report the norm before clipping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def total_norm(grads: Sequence[Tensor]) -> float:
    """Return the Euclidean norm over all gradients; gradients may be sharded over processes."""
    norm = torch.nn.utils.get_total_norm(grads)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def divide_and_clip(
    parameters: Iterable[nn.Parameter], weight: float, clip: float | None
) -> tuple[float, bool]:
    """Divide summed gradients by `weight` and clip them to the norm `clip`.

    Micro-batches back-propagate `loss * weight`; dividing the sum once gives the exact gradient of the whole
    batch. Division and clipping are one pass over the gradients.

    Returns:
        The norm after the division and before clipping, and whether the gradients were clipped.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = total_norm(grads) / weight
    clipped = clip is not None and norm > clip
    scale = (clip / norm if clipped and clip is not None else 1.0) / weight
    torch._foreach_mul_(grads, scale)
    return norm, clipped
