"""The loss of a pair at a given margin, by the method's own loss function.

It is computed on one typical pair: the chosen answer has gained half of the margin against the reference, the
rejected one has lost half of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boresight.methods import Method
from boresight.methods.base import MethodConfig
from boresight.methods.inputs import OnlinePairLogps, PairLogps

TOKENS = 200
"""Typical length of an answer, for losses that compare answers per token."""
LEVELS = (-1.0, -2.0)
"""Log-probabilities of both answers under the reference, nats per token. The curve is used only if it does
not depend on them."""


def expected_loss(method: Method, cfg: MethodConfig, margin: float) -> float | None:
    """The loss of a pair whose log-ratios to the reference differ by `margin` nats.

    Where a loss reports its `preference_loss`, that part is returned and added terms are left out.

    Args:
        cfg: settings of the method without schedules (`cfg.at`).

    Returns:
        None where the margin does not determine the loss: inputs without a reference, groups, single answers,
        and losses that depend on more than log-ratios.
    """
    if method.Input not in (PairLogps, OnlinePairLogps):
        return None
    first, second = (_loss(method, cfg, margin, level * TOKENS) for level in LEVELS)
    alike = math.isfinite(first) and math.isclose(first, second, rel_tol=1e-6, abs_tol=1e-9)
    return first if alike else None


def _loss(method: Method, cfg: MethodConfig, margin: float, level: float) -> float:
    """The loss where both answers have the log-probability `level` under the reference, nats."""
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
