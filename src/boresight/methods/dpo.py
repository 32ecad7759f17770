"""DPO: direct preference optimization.

    h = log pi(y_w|x)/ref(y_w|x) - log pi(y_l|x)/ref(y_l|x)
    L = - log sigmoid(beta * h)

Rafailov et al. 2023 (arXiv 2305.18290), equation 7. Log-probabilities are sums over tokens. At the
first step the policy is the reference, so h = 0 and the loss is ln 2 whatever beta is.

Every option is off by default, and they combine:

    hinge             max(0, 1 - beta * h)                               SLiC, Zhao et al., arXiv 2305.10425
    label_smoothing   (1 - e) * L(beta * h) + e * L(-beta * h)           cDPO, Mitchell 2023
    length_normalised each log-ratio of h divided by its own length      as `sigmoid_norm` in TRL
    dpop_lambda       h - lambda * max(0, log ref(y_w)/pi(y_w))          DPOP, Pal et al., arXiv 2402.13228
    sft_weight        L - weight * log pi(y_w|x) / |y_w|                 RPO, Pang et al., arXiv 2404.19733

Left out: f-divergences other than the reverse KL, a reference that follows the policy (TR-DPO), and
LD-DPO, which needs the log-probability of a prefix rather than of the whole answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from boresight.methods.base import MethodConfig
from boresight.methods.inputs import LossOutput, PairLogps, weighted


class Config(MethodConfig):
    """Settings of DPO."""

    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference, per nat of margin. The paper's default is 0.1."""

    loss_type: Literal["sigmoid", "hinge"] = "sigmoid"
    """Shape of the loss: the paper's logistic one, or SLiC's hinge, which is zero for beta * h above 1."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of labels assumed to be flipped (cDPO); the loss is then smallest at a finite margin."""

    length_normalised: bool = False
    """Compare log-ratios per token. Margins become about |y| times smaller, so raise beta to match."""

    dpop_lambda: float = Field(default=0.0, ge=0)
    """Penalty per nat by which the chosen answer is less likely than under the reference (DPOP: 5 to 500)."""

    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of an added per-token likelihood of the chosen answer (RPO uses 1)."""

    @property
    def per_token(self) -> bool:
        """Whether margins are per token."""
        return self.length_normalised

    @property
    def loss_unit(self) -> str:
        """Unit of the loss: nats, or none for the hinge, which is a difference of logits."""
        return "" if self.loss_type == "hinge" else "nats"


def sigmoid_loss(logit: Tensor) -> Tensor:
    """Return -log sigmoid(`logit`), the negative log-likelihood of the label under Bradley-Terry, in nats.

    `logit` and the result are `(batch,)`.
    """
    return -F.logsigmoid(logit)


def hinge_loss(logit: Tensor) -> Tensor:
    """Return max(0, 1 - `logit`), without a unit; `logit` and the result are `(batch,)`."""
    return F.relu(1 - logit)


Shape = Callable[[Tensor], Tensor]
"""A function from logits to losses, both `(batch,)`."""

LOSSES: dict[str, Shape] = {"sigmoid": sigmoid_loss, "hinge": hinge_loss}


def smoothed(shape: Shape, logit: Tensor, flipped: float) -> Tensor:
    """Return the expected loss if a share `flipped` of the labels is wrong (cDPO).

    `logit` and the result are `(batch,)`.
    """
    return (1 - flipped) * shape(logit) + weighted(flipped, shape(-logit))


def chosen_nll(x: PairLogps) -> Tensor:
    """Return the negative log-likelihood of the chosen answer, in nats per token, `(batch,)` (RPO)."""
    return -x.policy_chosen / x.chosen_len


def chosen_shortfall(x: PairLogps) -> Tensor:
    """Return max(0, log ref(y_w) - log pi(y_w)), in nats, `(batch,)` (DPOP)."""
    return F.relu(-x.chosen_logratio)


def loss(x: PairLogps, cfg: Config) -> LossOutput:
    """Return the DPO loss, mean over pairs, in nats; the hinge has no unit."""
    margin = x.margin_per_token if cfg.length_normalised else x.margin
    logit = cfg.beta * (margin - weighted(cfg.dpop_lambda, chosen_shortfall(x)))
    preference = smoothed(LOSSES[cfg.loss_type], logit, cfg.label_smoothing)
    if cfg.sft_weight == 0:
        return LossOutput.mean_of(preference)
    nll = chosen_nll(x)
    return LossOutput.mean_of(preference + cfg.sft_weight * nll, preference_loss=preference, sft_nll=nll)
