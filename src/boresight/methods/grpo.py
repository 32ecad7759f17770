"""GRPO: rewards, standardized within each group, as advantages of all tokens, with a clipped ratio per token.

    A_i = (r_i - mean r) / (std r + 1e-4)                                          no gradient
    q_t = pi(y_t) / pi_old(y_t),    K_t = ref(y_t) / pi(y_t) - log (ref(y_t) / pi(y_t)) - 1
    L   = - mean_i mean_t [ min(q_t * A_i, clip(q_t, 1 - e, 1 + e') * A_i) - beta * K_t ]

Shao et al. 2024 (DeepSeekMath, arXiv 2402.03300), equations 3 and 4; std divides by n - 1, as TRL's does.
While the policy is the one that sampled, q = 1 and nothing is clipped. Later methods changed single settings:

    standardize: false, average: sum    Dr. GRPO (Liu et al. 2025, arXiv 2503.20783): A_i = r_i - mean r, and
                                        tokens are summed; RLOO's gradient times (k - 1) / k
    average: token                      DAPO (Yu et al. 2025, arXiv 2503.14476): a mean over the tokens of the
                                        batch, with clip_high 0.28
    ratio: sequence                     GSPO (Zheng et al. 2025, arXiv 2507.18071): q of a completion is the
                                        geometric mean of its tokens' q; clip about 3e-4

A completion that could not be scored has no loss and is excluded from the group's mean and deviation. If only
one completion of a group is scored, it has no advantage and no loss. The KL is a term of the loss and has a
gradient; in RLOO it is part of the reward.

Left out: the ratio that TRL multiplies K by, standardizing over the batch, two-sided clipping, DAPO's dynamic
sampling, and the constant by which TRL divides Dr. GRPO's sum, which only scales the loss.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from boresight.methods import rloo
from boresight.methods.inputs import GroupTokenLogps, LossOutput, weighted

SMALLEST = 1e-4
"""Added to the standard deviation, as in TRL, so that nearly equal rewards do not give huge advantages."""


class Config(rloo.Config):
    """Settings of GRPO: those of RLOO, and what its successors changed."""

    beta: float = Field(default=0.04, ge=0)
    """Weight of the KL to the reference, per token. The paper uses 0.04; with a verifier 0 is usual."""

    clip: float = Field(default=0.2, gt=0, lt=1)
    """Largest distance of a ratio from 1, as in PPO. Has an effect only with rollout.updates above 1."""

    clip_high: float | None = Field(default=None, gt=0)
    """Clip ratios at 1 + clip_high above 1, if it differs: DAPO uses 0.28. Null takes `clip`."""

    standardize: bool = True
    """Divide advantages by the deviation of the group's rewards. Dr. GRPO does not."""

    average: Literal["answer", "token", "sum"] = "answer"
    """How the loss is averaged: over an answer's tokens, then answers (the paper); over all tokens of the
    batch (DAPO); or summed over tokens (Dr. GRPO)."""

    ratio: Literal["token", "sequence"] = "token"
    """Ratio of each token, or one ratio per answer from the mean of its tokens' log-ratios (GSPO)."""

    @property
    def loss_unit(self) -> str:
        """Unit of the loss: none for standardized advantages, else that of the reward."""
        return "" if self.standardize else "reward"


def advantages(reward: Tensor, standardize: bool) -> Tensor:
    """Return each reward minus the mean of its group, `(groups, k)`; with `standardize`, divided by the
    standard deviation of the group.

    NaN where a completion is not scored or is the only scored one of its group. Equal rewards give exactly
    zero.
    """
    count = (~reward.isnan()).sum(-1, keepdim=True)
    centered = rloo.leave_one_out(reward) * (count - 1) / count
    if not standardize:
        return centered
    deviation = (centered.square().nansum(-1, keepdim=True) / (count - 1)).sqrt()
    return centered / (deviation + SMALLEST)


def tokens_of(x: GroupTokenLogps) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the log-probabilities under policy, old policy and reference, and the weight of each token in
    the mean over its answer, all `(groups, k, positions)`.

    If `x` has no log-probabilities of tokens, each completion gets a single position, with its mean per
    token.
    """
    if x.policy_tokens is None:
        policy, old, ref = ((sums / x.length).unsqueeze(-1) for sums in (x.policy, x.old, x.ref))
        return policy, old, ref, torch.ones_like(old)
    return x.policy_tokens, x.old_tokens, x.ref_tokens, x.scored / x.length.unsqueeze(-1)


def loss(x: GroupTokenLogps, cfg: Config) -> LossOutput:
    """Return the GRPO loss over the completions that have an advantage, averaged as the setting `average`
    defines."""
    reward = rloo.judged_reward(x, cfg)
    advantage = advantages(reward, cfg.standardize)
    active = ~advantage.isnan()
    advantage = advantage.nan_to_num(0.0)  # before the product: 0 * NaN would poison the gradient
    policy, old, ref, share = tokens_of(x)
    log_ratio = policy - old.detach()
    if cfg.ratio == "sequence":
        log_ratio = (log_ratio * share).sum(-1, keepdim=True).expand_as(log_ratio)
    ratio = log_ratio.exp()
    high = 1 + (cfg.clip if cfg.clip_high is None else cfg.clip_high)
    pull = advantage.unsqueeze(-1)
    gain = torch.minimum(ratio * pull, ratio.clamp(1 - cfg.clip, high) * pull)
    gain = gain * x.importance.unsqueeze(-1) - weighted(cfg.beta, kl_of(policy, ref.detach()))
    gain = (gain * share).sum(-1)
    size = active.to(gain) if cfg.average == "answer" else active * x.length
    count = size if cfg.average == "token" else active.to(gain)
    beyond = ((pull > 0) & (ratio > high)) | ((pull < 0) & (ratio < 1 - cfg.clip))
    return LossOutput(
        loss=-(gain * size).sum() / count.sum().clamp(min=1),
        per_example=-(gain * size).sum(-1) / count.sum(-1).clamp(min=1),
        weight=count.sum(),
        metrics=rloo.group_metrics(x, reward, advantage, cfg)
        | {"clipped_ratio": (beyond * share).sum(-1).mean(-1).detach()},
    )


def kl_of(policy: Tensor, ref: Tensor) -> Tensor:
    """Return the k3 estimate of KL(pi || ref) at samples of pi, in nats, with the shape of both inputs.

    The estimate is never negative. Its gradient is that of KL(ref || pi), which equals that of KL(pi || ref)
    near the reference.
    """
    ahead = ref - policy
    return ahead.exp() - ahead - 1
