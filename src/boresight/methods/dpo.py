"""DPO: direct preference optimisation.

    h = log pi(y_w|x)/ref(y_w|x) - log pi(y_l|x)/ref(y_l|x)
    L = - log sigmoid(beta * h)

Rafailov et al. 2023 (arXiv 2305.18290), equation 7. Log-probabilities are sums over tokens. At the
first step the policy is the reference, so h = 0 and the loss is ln 2 whatever beta is.
"""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field

from boresight.methods.base import MethodConfig
from boresight.methods.inputs import LossOutput, PairLogps


class Config(MethodConfig):
    """Settings of DPO."""

    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference, per nat of margin. The paper's default is 0.1."""


def loss(x: PairLogps, cfg: Config) -> LossOutput:
    """DPO loss, mean over pairs, nats."""
    per_pair = -F.logsigmoid(cfg.beta * x.margin)
    return LossOutput(loss=per_pair.mean(), per_example=per_pair, weight=float(per_pair.numel()))
