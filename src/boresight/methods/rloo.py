"""RLOO: REINFORCE with the mean reward of the other samples of the same prompt as baseline.

    R_i = r_i - beta * (log pi_old(y_i|x) - log ref(y_i|x))          no gradient
    A_i = R_i - mean_{j != i} R_j = k / (k - 1) * (R_i - mean R)
    L   = - mean_i A_i * log pi(y_i|x)

Ahmadian et al. 2024 (arXiv 2402.14740), section 2.2; Kool, van Hoof and Welling 2019. A whole completion is
one action. The KL (estimator k1) is part of the reward and is subtracted before the baseline.

A completion that could not be scored (NaN) has no loss and is excluded from all baselines; k is the number of
scored completions. If only one completion of a group is scored, it has no baseline and no loss. With `clip`
the loss is PPO's, - min(q * A, clip(q) * A) with q = pi/pi_old of the whole completion, for several updates
on one rollout; on-policy, q = 1 and both losses have the same gradient. If another program sampled, each
completion's term is multiplied by its truncated importance weight min(pi_old / sampler, cap).

Left out: dividing advantages by their deviation, length normalization, token-level ratios (`grpo`), a critic.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from boresight.methods.base import MethodConfig
from boresight.methods.inputs import GroupLogps, LossOutput, weighted


class Config(MethodConfig):
    """Settings of RLOO."""

    beta: float = Field(default=0.03, ge=0)
    """Reward lost per nat of KL to the reference. The paper uses 0.03; with a verifier 0.001 is common."""

    clip: float | None = Field(default=None, gt=0, lt=1)
    """Largest distance of pi/pi_old from 1, for several updates per rollout. Off: plain REINFORCE."""

    mask_truncated: bool = False
    """Treat completions cut by the token limit as unscorable: no loss, and not in the baseline."""

    truncation_penalty: float = Field(default=0.0, ge=0)
    """Reward taken from completions cut by the token limit."""

    @property
    def wants_reference(self) -> bool:
        """Whether the reference model is used: only for the KL term, that is, with `beta` above 0."""
        return self.beta > 0

    @property
    def loss_unit(self) -> str:
        """Unit of the loss, which is a product of advantages and log-probabilities; only its gradient is
        meaningful, not its value."""
        return "reward · nats"

    @property
    def status_metrics(self) -> tuple[str, ...]:
        """Metrics of the status line: the reward, and the KL, or the length if the KL is not measured."""
        return "reward", "kl", "length"

    @model_validator(mode="after")
    def _one_truncation_rule(self) -> Self:
        if self.mask_truncated and self.truncation_penalty > 0:
            raise ValueError(
                "truncation_penalty has no effect on masked completions: set it or mask_truncated, not both"
            )
        return self


def judged_reward(x: GroupLogps, cfg: Config) -> Tensor:
    """Return the rewards `(groups, k)` after masking or penalizing truncated completions, before the KL term.

    NaN where a completion could not be scored, or is truncated and `mask_truncated` is set.
    """
    cost = torch.nan if cfg.mask_truncated else cfg.truncation_penalty
    return torch.where(x.truncated, x.reward - cost, x.reward)


def leave_one_out(reward: Tensor) -> Tensor:
    """Return the leave-one-out advantages `(groups, k)`: each reward minus the mean of the group's other
    rewards.

    NaN where a completion is not scored or is the only scored one of its group. An advantage is computed as
    the mean of r_i - r_j over the others j, so equal rewards give exactly zero: Adam would scale a rounding
    error up to a full step.
    """
    scorable = ~reward.isnan()
    siblings = scorable.sum(-1, keepdim=True) - 1
    differences = reward.unsqueeze(-1) - reward.unsqueeze(-2)
    return torch.where(scorable, differences.nansum(-1) / siblings, torch.nan)  # 0 / 0 for a single one


def too_few_scored(reward: Tensor) -> Tensor:
    """Return whether fewer than two rewards of each group are scored, so that none has an advantage,
    `(groups,)`."""
    return (~reward.isnan()).sum(-1) < 2


def all_equal(reward: Tensor) -> Tensor:
    """Return whether at least two rewards of each group are scored and all scored rewards are equal,
    `(groups,)`."""
    equal = reward.nan_to_num(-torch.inf).amax(-1) <= reward.nan_to_num(torch.inf).amin(-1)
    return equal & ~too_few_scored(reward)


def clipped_gain(policy: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Return PPO's clipped objective with one ratio per completion, to be maximized; all tensors are
    `(groups, k)`."""
    ratio = torch.exp(policy - old.detach())
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def loss(x: GroupLogps, cfg: Config) -> LossOutput:
    """Return the RLOO loss, mean over the completions that have an advantage; `per_example` is per group."""
    reward = judged_reward(x, cfg)
    kl = (x.old - x.ref).detach()
    advantage = leave_one_out(reward - weighted(cfg.beta, kl))
    active = ~advantage.isnan()
    advantage = advantage.nan_to_num(0.0)  # before the product: 0 * NaN would poison the gradient
    gain = advantage * x.policy if cfg.clip is None else clipped_gain(x.policy, x.old, advantage, cfg.clip)
    gain = gain * x.importance
    return LossOutput(
        loss=-gain.sum() / active.sum().clamp(min=1),
        per_example=-gain.sum(-1) / active.sum(-1).clamp(min=1),
        weight=active.sum().to(gain),
        metrics=group_metrics(x, reward, advantage, cfg),
    )


def group_metrics(x: GroupLogps, reward: Tensor, advantage: Tensor, cfg: Config) -> dict[str, Tensor]:
    """Return the logged metrics of each group, each `(groups,)`.

    Args:
        reward: rewards `(groups, k)` after the truncation rule (`judged_reward`); the logged reward is
            `x.reward`, before it.
        advantage: advantages `(groups, k)`, 0 where there is none.
    """
    kl = (x.old - x.ref).detach()
    metrics = {
        "reward": x.reward.nanmean(-1),
        "advantage": advantage.abs().mean(-1),
        "zero_variance": all_equal(reward).to(kl),
        "too_few_scored": too_few_scored(reward).to(kl),
        "unscorable": x.reward.isnan().to(kl).mean(-1),
        "truncated": x.truncated.to(kl).mean(-1),
    }
    if cfg.wants_reference:  # else `x.ref` is `old`, and the KL of 0 is not a measurement
        metrics["kl"] = kl.mean(-1)
    return metrics
