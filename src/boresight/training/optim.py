"""AdamW, learning-rate schedules as pure functions of the step, and gradient clipping that reports the norm
before clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from boresight.config.recipe import OptimSection
from boresight.models.kernels.compact import load_bitsandbytes
from boresight.models.kernels.split_weights import place_of
from boresight.models.policy import Policy
from boresight.training.optimizer.split_adamw import SplitAdamW, split_adamw_8bit

SECOND_MOMENTS = ("exp_avg_sq", "state2")
"""Names of the second moments in AdamW of torch and of bitsandbytes."""


def learning_rate(step: int, steps: int, optim: OptimSection) -> float:
    """Learning rate of step `step`, `0 <= step < steps`.

    Warm-up rises linearly and reaches the peak at its last step; the first step's rate is not zero. Cosine
    and linear then fall so that the step after the last would have rate zero.
    """
    warm = math.ceil(optim.warmup * steps)
    if step < warm:
        return optim.peak * (step + 1) / warm
    if optim.schedule == "constant":
        return optim.peak
    done = (step - warm) / max(1, steps - warm)
    if optim.schedule == "linear":
        return optim.peak * (1 - done)
    return optim.peak * 0.5 * (1 + math.cos(math.pi * done))


def learning_rate_sum(steps: int, optim: OptimSection) -> float:
    """Sum of the rates of all steps: a bound on how far Adam can move any one weight.

    In closed form, since a recipe may name any number of steps: w steps of warm-up sum to (w + 1) / 2 of the
    peak, and so do n further ones to (n + 1) / 2 of it, linear and cosine alike.
    """
    warm = math.ceil(optim.warmup * steps)
    rest = steps - warm
    rising = (warm + 1) / 2 if warm else 0.0
    falling = float(rest) if optim.schedule == "constant" else (rest + 1) / 2 if rest else 0.0
    return optim.peak * (rising + falling)


def make_optimizer(model: Policy, optim: OptimSection) -> torch.optim.Optimizer:
    """AdamW over the trainable parameters; matrices decay, biases and norms (one-dimensional) do not.

    Raises:
        UserError: moments in 8 bits, and bitsandbytes is not installed.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    settings: dict[str, Any] = {"lr": optim.peak, "betas": optim.betas, "eps": optim.eps}
    split = any(place_of(p) for p in trainable)
    if optim.states == "8bit":
        plain = load_bitsandbytes("optim.states: 8bit").optim.AdamW8bit
        small: torch.optim.Optimizer = (split_adamw_8bit if split else plain)(groups, **settings)
        return small
    return (SplitAdamW if split else torch.optim.AdamW)(groups, fused=True, **settings)


def has_moved(optimizer: torch.optim.Optimizer) -> bool:
    """Whether any of this process's gradients so far was not zero, according to Adam's second moments."""
    moments = [state[name] for state in optimizer.state.values() for name in SECOND_MOMENTS if name in state]
    return any(bool((m.to_local() if isinstance(m, DTensor) else m).any()) for m in moments)


def total_norm(grads: Sequence[Tensor]) -> float:
    """Euclidean norm over all gradients; of a sharded one, each process has only a part."""
    norm = torch.nn.utils.get_total_norm(grads)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def divide_and_clip(
    parameters: Iterable[nn.Parameter], weight: float, clip: float | None
) -> tuple[float, bool]:
    """Divide summed gradients by `weight` and clip; returns the norm before clipping, and whether clipping
    was applied.

    Micro-batches back-propagate `loss * weight`; dividing the sum once gives the exact gradient of
    the whole batch. Division and clipping are one pass over the gradients.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = total_norm(grads) / weight
    clipped = clip is not None and norm > clip
    scale = (clip / norm if clipped and clip is not None else 1.0) / weight
    torch._foreach_mul_(grads, scale)
    return norm, clipped
