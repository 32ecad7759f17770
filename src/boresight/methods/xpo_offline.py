"""Offline XPO: DPO on fixed pairs plus alpha times the log-probability of one of the two answers.

    h = log pi(y_w|x)/ref(y_w|x) - log pi(y_l|x)/ref(y_l|x)
    L = - log sigmoid(beta * h) + alpha * log pi(y_e|x),    y_e = y_l (or y_w)

This is *not* XPO (Xie et al. 2024, arXiv 2405.21046, algorithm 1; see `xpo`). It has the form of that
objective, but nothing is sampled: the pairs are fixed, neither answer comes from the policy, and y_e does not
come from the reference. So it does not explore, and the paper's guarantee does not apply; alpha acts as
unlikelihood training on the text of the dataset. The method is included because runs on UltraFeedback were
published under the name XPO with alpha 0.01 to 0.1, a thousand times the values of online implementations;
such settings need `allow_large_alpha`.

At the first step the loss is ln 2 + alpha * log pi(y_e|x), mean over pairs. Left out: sampling, relabeling,
and everything else that makes XPO explore.
"""

from __future__ import annotations

from typing import Literal

from boresight.methods import xpo
from boresight.methods.inputs import LossOutput, PairLogps


class Config(xpo.OptimismConfig):
    """Settings of offline XPO: those of XPO, and which answer alpha acts on."""

    explore: Literal["rejected", "chosen"] = "rejected"
    """The answer whose probability alpha pushes down; in given data neither is known to be the
    reference's."""


def loss(x: PairLogps, cfg: Config) -> LossOutput:
    """Return the offline XPO loss, mean over pairs, in nats. Schedules in `cfg` must be resolved
    (`cfg.at`)."""
    explored = x.policy_rejected if cfg.explore == "rejected" else x.policy_chosen
    return xpo.optimistic(x.margin, explored, cfg)
