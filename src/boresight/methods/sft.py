"""SFT: supervised fine-tuning on demonstrations by maximum likelihood.

    L = - sum_i log pi(y_i | x_i) / sum_i |y_i|

The mean runs over all scored tokens of the batch, so a long answer has more weight than a short one, and the
loss does not depend on the micro-batch size. Source: Ouyang et al. 2022 (arXiv 2203.02155), section 3.5, step
1, which gives no equation.

Left out: label smoothing, and the equal weight per answer that some trainers give.
"""

from __future__ import annotations

from boresight.methods.base import MethodConfig
from boresight.methods.inputs import LossOutput, SequenceLogps


class Config(MethodConfig):
    """SFT has no settings of its own."""

    @property
    def loss_unit(self) -> str:
        """Unit of the loss, a mean over tokens."""
        return "nats per token"


def loss(x: SequenceLogps, cfg: Config) -> LossOutput:
    """Return the negative log-likelihood, mean over tokens, in nats per token."""
    tokens = x.length.sum()
    return LossOutput(
        loss=-x.policy.sum() / tokens.clamp(min=1),
        per_example=-x.policy / x.length.clamp(min=1),
        weight=tokens,
        counts=x.length,
    )
