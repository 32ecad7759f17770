"""Reward model: a scalar score for an answer, fitted to preferences (Bradley-Terry).

    L = - log sigmoid(r_w - r_l - m) + c * (r_w + r_l)^2,    m = margin_scale * (s_w - s_l)

The likelihood is Ouyang et al. 2022 (arXiv 2203.02155), equation 1; the margin m, which asks for a
wider gap where the labels' own scores s are further apart, is Touvron et al. 2023 (Llama 2, arXiv
2307.09288), equation 2; the centering term is Eisenstein et al. 2023 (arXiv 2312.09244).
Without it only differences of rewards are learned, so the absolute level drifts.

Left out: ties, more than two answers to a prompt in one likelihood, and ensembles.
"""

from __future__ import annotations

from pydantic import Field

from boresight.methods.base import MethodConfig
from boresight.methods.dpo import sigmoid_loss
from boresight.methods.inputs import LossOutput, PairScores, weighted


class Config(MethodConfig):
    """Settings of the reward model."""

    margin_scale: float = Field(default=0.0, ge=0)
    """Margin per unit of the dataset's own score gap; 0 ignores scores, and a pair without them has none."""

    centering: float = Field(default=0.0, ge=0)
    """Weight of the squared sum of a pair's rewards, which holds their mean near 0 (0.01 is usual)."""

    @property
    def margin_unit(self) -> str:
        """Unit of the margin: a difference of scores is a log-odds (Bradley-Terry)."""
        return "log-odds"


def loss(x: PairScores, cfg: Config) -> LossOutput:
    """Return the Bradley-Terry loss, mean over pairs, in nats."""
    gap = x.chosen - x.rejected
    likelihood = sigmoid_loss(gap - weighted(cfg.margin_scale, x.score_gap))
    off_center = (x.chosen + x.rejected) ** 2
    return LossOutput.mean_of(likelihood + weighted(cfg.centering, off_center), preference_loss=likelihood)
