"""SimPO: preference optimization without a reference, on length-normalized log-probabilities.

    L = - log sigmoid( beta * log pi(y_w|x)/|y_w| - beta * log pi(y_l|x)/|y_l| - gamma )

Meng, Xia and Chen 2024 (arXiv 2405.14734), equation 6. The implicit reward is the average log-probability, by
which decoding ranks answers; gamma is the margin by which the chosen answer must lead.

Left out: the added SFT term of some implementations. No term of the loss keeps the policy near its start, so
only the learning rate limits the change: the authors use 3e-7 to 1e-6.
"""

from __future__ import annotations

from pydantic import Field

from boresight.methods.base import MethodConfig
from boresight.methods.dpo import sigmoid_loss
from boresight.methods.inputs import LossOutput, PolicyPairLogps


class Config(MethodConfig):
    """Settings of SimPO."""

    beta: float = Field(default=2.0, gt=0)
    """Scale of the average log-probability. The authors recommend 2.0 to 2.5."""

    gamma: float = Field(default=1.0, ge=0)
    """Lead the chosen answer must have, on beta's scale. The authors start at gamma / beta = 0.5."""

    @property
    def per_token(self) -> bool:
        """Always True: margins are differences of mean log-probabilities per token."""
        return True

    @property
    def margin_unit(self) -> str:
        """Unit of the margin, a difference of mean log-probabilities."""
        return "nats per token"


def loss(x: PolicyPairLogps, cfg: Config) -> LossOutput:
    """Return the SimPO loss, mean over pairs, in nats."""
    lead = x.policy_chosen / x.chosen_len - x.policy_rejected / x.rejected_len
    return LossOutput.mean_of(sigmoid_loss(cfg.beta * lead - cfg.gamma))
