"""ORPO: supervised fine-tuning on the chosen answer plus an odds ratio against the rejected one; no
reference.

    p(y) = exp( log pi(y|x) / |y| ),    odds(y) = p(y) / (1 - p(y))
    L = - log pi(y_w|x)/|y_w| - lambda * log sigmoid( log odds(y_w) - log odds(y_l) )

Hong, Lee and Thorne 2024 (arXiv 2403.07691), equations 3 to 7. `odds_weight` is lambda, which TRL calls beta.
The first term is supervised fine-tuning, so training starts from a base model, and one run replaces SFT
followed by preference optimization.

Left out: TRL's likelihood of the prompt, which it adds to that of the chosen answer, and its mean over the
tokens of the batch: here, as in the paper, each chosen answer counts once.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from boresight.methods.base import MethodConfig
from boresight.methods.dpo import sigmoid_loss
from boresight.methods.inputs import LossOutput, PolicyPairLogps

MOST_CERTAIN = -1e-6
"""Maximum log-probability used for the odds, in nats per token; a probability of 1 would have infinite
odds."""


class Config(MethodConfig):
    """Settings of ORPO."""

    odds_weight: float = Field(default=0.1, gt=0)
    """Weight of the odds ratio beside the likelihood: lambda. The paper has 0.1 (Mistral) to 0.25 (Phi-2)."""

    @property
    def per_token(self) -> bool:
        """Always True: the odds are computed from the mean log-probability per token."""
        return True

    @property
    def margin_unit(self) -> str:
        """Unit of the margin, a difference of mean log-probabilities."""
        return "nats per token"


def log_odds(mean_logp: Tensor) -> Tensor:
    """Return log p/(1 - p) with p = exp(`mean_logp`); `mean_logp` is in nats per token, and the result has
    its shape."""
    mean_logp = mean_logp.clamp(max=MOST_CERTAIN)
    return mean_logp - torch.log(-torch.expm1(mean_logp))


def loss(x: PolicyPairLogps, cfg: Config) -> LossOutput:
    """Return the ORPO loss, mean over pairs, in nats."""
    chosen, rejected = x.policy_chosen / x.chosen_len, x.policy_rejected / x.rejected_len
    preference = sigmoid_loss(log_odds(chosen) - log_odds(rejected))
    per_pair = cfg.odds_weight * preference - chosen
    return LossOutput.mean_of(per_pair, preference_loss=preference, sft_nll=-chosen)
