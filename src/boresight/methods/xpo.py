"""XPO: exploratory preference optimization, online DPO with an optimism bonus.

    y ~ pi_t,  y_ref ~ ref,  a reward labels the two as (y_w, y_l)
    h = log pi(y_w|x)/ref(y_w|x) - log pi(y_l|x)/ref(y_l|x)
    L = - log sigmoid(beta * h) + alpha * log pi(y_ref|x)

Xie et al. 2024 (arXiv 2405.21046), algorithm 1. All log-probabilities are sums over tokens. The bonus always
applies to the *reference's* sample, whichever of the two is preferred: minimizing alpha * log pi(y_ref)
rewards KL(ref || pi), that is, moving probability away from where the reference already samples.

The algorithm minimizes both terms over the pairs of all iterations so far. `replay` adds pairs of earlier
steps, with their labels and both terms, to those of a step; without it, a step uses only its own pairs.

Left out: minimizing to the end in every iteration, and choosing the best iterate at the end. The paper gives
no numbers for alpha and beta; the defaults are those of TRL 1.13 (OAT: alpha 5e-6).
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from boresight.methods.base import MethodConfig
from boresight.methods.dpo import sigmoid_loss
from boresight.methods.inputs import LossOutput, OnlinePairLogps, weighted
from boresight.methods.schedule import NonNegative, Positive, constant, span

LARGEST_SHARE = 0.05


class OptimismConfig(MethodConfig):
    """Settings of a preference loss with an optimism bonus, on sampled pairs or on given ones."""

    alpha: NonNegative = 1e-5
    """Optimism: weight of the log-probability of the reference's sample. A number or a schedule."""

    beta: Positive = 0.1
    """Strength of the pull towards the reference, per nat of margin. A number or a schedule."""

    allow_large_alpha: bool = False
    """Accept an alpha that takes more than 5 % of the gradient of the preference term."""

    @property
    def explores(self) -> bool:
        """Always True: the loss has the exploration bonus."""
        return True

    @property
    def dominating_bonus(self) -> float | None:
        """alpha / (beta / 2) if it is above `LARGEST_SHARE`, otherwise None. Schedules must be resolved
        (`at`)."""
        share = constant(self.alpha) / (constant(self.beta) / 2)
        return share if share > LARGEST_SHARE else None

    @model_validator(mode="after")
    def _preferences_outweigh_optimism(self) -> Self:
        share = span(self.alpha)[1] / (span(self.beta)[0] / 2)
        if share > LARGEST_SHARE and not self.allow_large_alpha:
            raise ValueError(
                f"alpha / (beta / 2) is {share:.3g}, above {LARGEST_SHARE}: alpha would lower "
                f"the probability of an answer with {share:.3g} times the gradient of the preference at the "
                "first step, without a lower limit, so that generations degenerate; online runs use alpha "
                "from 1e-6 to 1e-5: lower it, or set allow_large_alpha: true"
            )
        return self


class Config(OptimismConfig):
    """Settings of XPO."""

    replay: float = Field(default=0.0, ge=0, le=16)
    """Number of earlier pairs per prompt of a step: 1 doubles the batch, 0 adds none."""

    @property
    def status_metrics(self) -> tuple[str, ...]:
        """Metrics of the status line: the reward, and the margin, which measures the distance from the
        reference."""
        return "reward", "margin"

    @property
    def replays(self) -> float:
        """Number of earlier pairs added to a step, per prompt of the step: the setting `replay`."""
        return self.replay


def optimistic(margin: Tensor, explored: Tensor, cfg: OptimismConfig) -> LossOutput:
    """Return DPO's loss on `margin` plus alpha times `explored`, both `(batch,)`.

    `explored` is the log-probability of the sample that the bonus makes less likely, in nats.
    """
    preference = sigmoid_loss(constant(cfg.beta) * margin)
    per_pair = preference + weighted(constant(cfg.alpha), explored)
    return LossOutput.mean_of(per_pair, preference_loss=preference, explored_logp=explored)


def loss(x: OnlinePairLogps, cfg: Config) -> LossOutput:
    """Return the XPO loss, mean over pairs, in nats. Schedules in `cfg` must be resolved (`cfg.at`)."""
    from_ref = torch.where(x.chosen_from_ref, x.policy_chosen, x.policy_rejected)
    return optimistic(x.margin, from_ref, cfg)
