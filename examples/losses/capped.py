"""DPO that stops pulling at a margin: pairs that are far enough apart teach no more.

    L = -log sigmoid(beta min(h, cap))

Over-optimization begins where easy pairs are pushed on and on; a cap leaves them alone.
"""

import torch.nn.functional as F
from pydantic import Field

from boresight.methods.base import MethodConfig
from boresight.methods.inputs import LossOutput, PairLogps


class Config(MethodConfig):
    """Settings of capped DPO."""

    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference, per nat of margin."""

    cap: float = Field(default=5.0, gt=0)
    """Margin, in nats, beyond which a pair has no gradient."""


def loss(x: PairLogps, cfg: Config) -> LossOutput:
    """Mean over pairs, nats. `x.margin` is `(batch,)`."""
    reached = (x.margin >= cfg.cap).float()
    per_pair = -F.logsigmoid(cfg.beta * x.margin.clamp(max=cfg.cap))
    return LossOutput.mean_of(per_pair, reached=reached)
