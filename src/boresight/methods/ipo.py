"""IPO: identity preference optimization, a squared distance to a finite target margin.

    h = log pi(y_w|x)/ref(y_w|x) - log pi(y_l|x)/ref(y_l|x)
    L = (h - 1 / (2 * tau))^2

Azar et al. 2023 (arXiv 2310.12036), equation 17. tau is the weight of the KL to the reference: a
larger tau asks for a smaller margin. At the first step h = 0 and the loss is (1 / (2 tau))^2.

`reduction` chooses between two different algorithms. `sum` takes h over whole answers, as in the
paper; `mean` divides each log-ratio by its own length, as TRL does, and then the target is in nats
*per token*: tau = 0.1 asks for 5 nats per sequence with `sum` and for 5 nats per token with `mean`.

Left out: sampling from the policy (online IPO) and labels with a known preference probability.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from boresight.methods.base import MethodConfig
from boresight.methods.inputs import LossOutput, PairLogps


class Config(MethodConfig):
    """Settings of IPO."""

    tau: float = Field(default=0.1, gt=0)
    """KL weight. 0.1 asks for 5 nats; the study's 0.01 asks for 50, far beyond a short run's reach."""

    reduction: Literal["sum", "mean"] = "sum"
    """Log-ratios summed over the answer (the paper and the study) or averaged over its tokens (TRL)."""

    @property
    def per_token(self) -> bool:
        """Whether margins are per token."""
        return self.reduction == "mean"

    @property
    def target_margin(self) -> float:
        """Margin at which the loss is zero: nats with `sum`, nats per token with `mean`."""
        return target_margin(self)

    @property
    def loss_unit(self) -> str:
        """Unit of the loss: that of the margin, squared."""
        return "nats²" if self.reduction == "sum" else "(nats per token)²"

    @property
    def reward_scale(self) -> float:
        """The setting `tau`, which corresponds to `beta` of other methods."""
        return self.tau


def target_margin(cfg: Config) -> float:
    """Return the margin at which the loss is zero: nats with `sum`, nats per token with `mean`."""
    return 1 / (2 * cfg.tau)


def loss(x: PairLogps, cfg: Config) -> LossOutput:
    """Return the IPO loss, mean over pairs, in nats² with `sum` and in (nats per token)² with `mean`."""
    margin = x.margin if cfg.reduction == "sum" else x.margin_per_token
    target = target_margin(cfg)
    return LossOutput.mean_of((margin - target) ** 2, target_margin=torch.full_like(margin, target))
