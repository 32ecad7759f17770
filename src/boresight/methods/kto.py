"""KTO: single answers labeled good or bad, each compared with a reference point.

    r = log pi(y|x)/ref(y|x)
    z = max(0, mean of log pi(y'|x)/ref(y'|x) over mismatched y')
    L = lambda_D * (1 - sigmoid(beta * (r - z)))    where y is good (desirable)
    L = lambda_U * (1 - sigmoid(beta * (z - r)))    where y is bad (undesirable)

Ethayarajh et al. 2024 (arXiv 2402.01306), equation 7; equation 8 bounds the weights. Log-probabilities are
sums over tokens. z estimates KL(pi || ref) over the batch and carries no gradient. The mismatched answer y'
belongs to another prompt: it is the answer of the next row of the data whose prompt and answer both differ
from those of the row. It stays the same for the whole run, so the reference scores it once. At the first step
the policy equals the reference and L is half of the weight.

Left out: y' from the same batch, as the authors and TRL have it, which makes z less noisy but requires the
reference to score y' anew in every epoch; TRL's `apo_zero_unpaired`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field

from boresight.methods.base import MethodConfig
from boresight.methods.inputs import LabeledLogps, LossOutput


class Config(MethodConfig):
    """Settings of KTO."""

    beta: float = Field(default=0.1, gt=0)
    """Steepness per nat: the larger, the sooner an answer counts as good or bad enough. Often 0.1."""

    desirable_weight: float = Field(default=1.0, gt=0)
    """Weight of good answers, lambda_D."""

    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of bad answers: lambda_U. For uneven labels, `boresight check` prints what balances them."""

    @property
    def loss_unit(self) -> str:
        """Unit of the loss: none. Its value is between 0 and the weight of the label."""
        return ""

    @property
    def label_weights(self) -> tuple[float, float]:
        """Weights of a good and of a bad answer."""
        return self.desirable_weight, self.undesirable_weight

    @property
    def metric_labels(self) -> Mapping[str, str]:
        """Labels of metrics for single answers, which have no rejected answer for comparison."""
        return {
            "accuracy": "held-out answers on their label's side of the reference point",
            "margin": "distance from the reference point, on the label's side",
        }


def loss(x: LabeledLogps, cfg: Config) -> LossOutput:
    """Return the KTO loss, mean over answers, without a unit; 1 - sigmoid(v) is computed as sigmoid(-v)."""
    good, bad = (torch.full_like(x.policy, weight) for weight in cfg.label_weights)
    return LossOutput.mean_of(torch.where(x.label, good, bad) * torch.sigmoid(-cfg.beta * x.margin))
