"""Online DPO: pairs of the policy's own samples, labeled by a reward while it trains.

    y_1, y_2 ~ pi_t(.|x),    a reward labels the two as (y_w, y_l)
    h = log pi(y_w|x)/ref(y_w|x) - log pi(y_l|x)/ref(y_l|x)
    L = - log sigmoid(beta * h)

Guo et al. 2024 (arXiv 2402.04792), algorithm 1. Log-probabilities are sums over tokens; the reference stays
what training started from. Ties, identical samples and samples without a reward make no pair; the rollout
counts each. With `second_sample: reference` one of the two is the reference's: XPO without its bonus.

Left out: their other losses on such pairs (IPO, SLiC), TRL's rule that the first sample wins a tie, and its
penalty for a missing end token.
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
        """Metrics of the status line: the reward, and the margin as distance from the reference."""
        return "reward", "margin"

    @property
    def samples_reference(self) -> bool:
        """Whether one sample of a pair is the reference's."""
        return self.second_sample == "reference"


def loss(x: OnlinePairLogps, cfg: Config) -> LossOutput:
    """DPO's loss, mean over pairs, nats."""
    return LossOutput.mean_of(sigmoid_loss(cfg.beta * x.margin))
