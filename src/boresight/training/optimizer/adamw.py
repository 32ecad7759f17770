"""Create AdamW for the trainable weights of a model, in the variant that their storage requires."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import DTensor

from boresight.config.recipe import OptimSection
from boresight.models.kernels.compact import load_bitsandbytes
from boresight.models.kernels.split_weights import place_of
from boresight.models.policy import Policy
from boresight.training.optimizer.split_adamw import SplitAdamW, split_adamw_8bit

SECOND_MOMENTS = ("exp_avg_sq", "state2")
"""Names of the second moments in the AdamW of torch and of bitsandbytes."""


def make_optimizer(model: Policy, optim: OptimSection) -> torch.optim.Optimizer:
    """Create AdamW for the trainable parameters.

    Weight decay applies to matrices, but not to biases and norms (one-dimensional parameters).

    Raises:
        UserError: moments in 8 bits are set, and bitsandbytes is not installed.
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
    """Return whether any gradient of this process so far was not zero, according to Adam's second moments."""
    moments = [state[name] for state in optimizer.state.values() for name in SECOND_MOMENTS if name in state]
    return any(bool((m.to_local() if isinstance(m, DTensor) else m).any()) for m in moments)
