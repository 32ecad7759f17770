"""Compute the loss of a pair at a given margin with the method's own loss function.

The loss is that of one typical pair: under the policy the log-probability of the chosen answer is half of the
margin above that under the reference, and the log-probability of the rejected answer half of it below.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boresight.methods import Method
from boresight.methods.base import MethodConfig
from boresight.methods.inputs import OnlinePairLogps, PairLogps

TOKENS = 200
"""Typical length of an answer in tokens, for losses that compare answers per token."""
LEVELS = (-1.0, -2.0)
"""Log-probabilities of both answers under the reference, nats per token. A loss that differs between the two
levels is not determined by the margin."""


def expected_loss(method: Method, cfg: MethodConfig, margin: float) -> float | None:
    """Return the loss of a pair whose log-ratios to the reference differ by `margin` nats.

    If a method reports its `preference_loss`, that part is returned, without the terms added to it.

    Args:
        cfg: settings of the method without schedules (`cfg.at`).

    Returns:
        The loss. None if the margin does not determine it: for inputs without a reference, groups, single
        answers, and losses that depend on more than log-ratios.
    """
    if method.Input not in (PairLogps, OnlinePairLogps):
        return None
    first, second = (_loss(method, cfg, margin, level * TOKENS) for level in LEVELS)
    alike = math.isfinite(first) and math.isclose(first, second, rel_tol=1e-6, abs_tol=1e-9)
    return first if alike else None


def _loss(method: Method, cfg: MethodConfig, margin: float, level: float) -> float:
    """Return the loss if both answers have the log-probability `level` under the reference, in nats."""
    pair = {
        "policy_chosen": _one(level + margin / 2),
        "policy_rejected": _one(level - margin / 2),
        "ref_chosen": _one(level),
        "ref_rejected": _one(level),
        "chosen_len": _one(TOKENS),
        "rejected_len": _one(TOKENS),
    }
    if method.Input is OnlinePairLogps:
        out = method.loss(OnlinePairLogps(**pair, chosen_from_ref=torch.zeros(1, dtype=torch.bool)), cfg)
    else:
        out = method.loss(PairLogps(**pair), cfg)
    return float(out.metrics.get("preference_loss", out.per_example))


def _one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)
