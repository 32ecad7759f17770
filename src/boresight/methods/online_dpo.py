"""Online DPO: pairs sampled from the policy during training, and labeled by a reward.

    y_1, y_2 ~ pi_t(.|x),    a reward labels the two as (y_w, y_l)
    h = log pi(y_w|x)/ref(y_w|x) - log pi(y_l|x)/ref(y_l|x)
    L = - log sigmoid(beta * h)

Guo et al. 2024 (arXiv 2402.04792), algorithm 1. Log-probabilities are sums over tokens; the reference is the
model at the start of training and does not change. Ties, identical samples and samples without a reward give
no pair; the rollout counts each case. With `second_sample: reference` one of the two samples comes from the
reference, as in XPO, but without XPO's bonus.

Left out: the paper's other losses on such pairs (IPO, SLiC), TRL's rule that the first sample wins a tie, and
TRL's penalty for a missing end token.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from boresight.methods.base import MethodConfig
from boresight.methods.dpo import sigmoid_loss
from boresight.methods.inputs import LossOutput, OnlinePairLogps


class Config(MethodConfig):
    """Settings of online DPO."""

    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference, per nat of margin. The paper uses 0.1."""

    second_sample: Literal["policy", "reference"] = "policy"
    """Model that draws the second sample of a pair; the first is always the policy's."""

    @property
    def status_metrics(self) -> tuple[str, ...]:
        """Metrics of the status line: the reward, and the margin, which measures the distance from the
        reference."""
        return "reward", "margin"

    @property
    def samples_reference(self) -> bool:
        """Whether one completion of each pair is sampled from the reference model."""
        return self.second_sample == "reference"


def loss(x: OnlinePairLogps, cfg: Config) -> LossOutput:
    """Return DPO's loss on sampled pairs, mean over pairs, in nats."""
    return LossOutput.mean_of(sigmoid_loss(cfg.beta * x.margin))
