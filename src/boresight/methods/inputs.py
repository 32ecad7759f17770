"""Inputs and outputs of losses: frozen dataclasses of tensors.

The annotation of a loss's first parameter is one of these types, which determines the forward pass
(`training/forward.py`). Unless stated otherwise, log-probabilities are sums over the scored tokens of a
completion, in nats, float32, shape `(batch,)`; lengths are numbers of scored tokens, float32, `(batch,)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from boresight.core.errors import UserError


@dataclass(frozen=True, slots=True)
class LossOutput:
    """The result of a loss.

    Attributes:
        loss: scalar, the mean over what the method averages: pairs, tokens, or scorable completions.
        per_example: loss of each example, `(batch,)`.
        weight: number of items in that mean; a number or, to avoid a synchronization with the GPU, a scalar
            tensor.
        metrics: detached tensors, each `(batch,)`; NaN marks an example that has no value.

    `loss * weight` summed over micro-batches and divided by the summed weights is the loss of the whole
    batch, however it is divided. With nothing to average, loss and weight are 0.
    """

    loss: Tensor
    per_example: Tensor
    weight: float | Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    counts: Tensor | None = None
    """Contribution of each example to `weight`, such as its number of tokens, `(batch,)`; None if each counts
    1."""

    @classmethod
    def mean_of(cls, per_example: Tensor, **metrics: Tensor) -> LossOutput:
        """Return the mean over the losses of examples `(batch,)`, each with weight 1, and these metrics."""
        count = per_example.numel()
        return cls(
            loss=per_example.sum() / max(count, 1),
            per_example=per_example,
            weight=float(count),
            metrics={name: value.detach() for name, value in metrics.items()},
        )

    def by_weights(self, weights: Tensor) -> LossOutput:
        """Return the loss with the examples weighted by `weights` `(batch,)`: a weight of 2 counts an example
        twice.

        Raises:
            UserError: the loss is not the mean of `per_example` weighted by `counts`, so that example weights
                are undefined.
        """
        counts = torch.ones_like(self.per_example) if self.counts is None else self.counts
        plain = (self.per_example * counts).sum().detach()
        if not torch.allclose(plain, (self.loss * self.weight).detach(), rtol=1e-4, atol=1e-6):
            raise UserError(
                "data.weight: the loss of this method is no mean over rows; leave data.weight out, or return "
                "LossOutput.mean_of(per_example)."
            )
        counts = counts * weights.to(counts)
        total = counts.sum()
        loss = (self.per_example * counts).sum() / total.clamp(min=torch.finfo(counts.dtype).tiny)
        return replace(self, loss=loss, weight=total, counts=counts)


def weighted(weight: float, term: Tensor) -> Tensor:
    """Return `weight` times `term`, with the shape of `term`; exactly 0 for weight 0, although 0 · NaN and 0
    · inf are NaN."""
    return weight * term if weight else torch.zeros_like(term)


@dataclass(frozen=True, slots=True)
class SequenceLogps:
    """Log-probabilities of demonstrations, one completion per row."""

    policy: Tensor
    length: Tensor


@dataclass(frozen=True, slots=True)
class PolicyPairLogps:
    """Log-probabilities of preference pairs, for methods without a reference model."""

    policy_chosen: Tensor
    policy_rejected: Tensor
    chosen_len: Tensor
    rejected_len: Tensor


@dataclass(frozen=True, slots=True)
class PairLogps:
    """Log-probabilities of preference pairs under the policy and the frozen reference model."""

    policy_chosen: Tensor
    policy_rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_len: Tensor
    rejected_len: Tensor

    @property
    def chosen_logratio(self) -> Tensor:
        """log pi(chosen) - log ref(chosen), nats, `(batch,)`."""
        return self.policy_chosen - self.ref_chosen

    @property
    def rejected_logratio(self) -> Tensor:
        """log pi(rejected) - log ref(rejected), nats, `(batch,)`."""
        return self.policy_rejected - self.ref_rejected

    @property
    def margin(self) -> Tensor:
        """h = chosen log-ratio - rejected log-ratio, nats, `(batch,)`. Not multiplied by beta."""
        return self.chosen_logratio - self.rejected_logratio

    @property
    def margin_per_token(self) -> Tensor:
        """Difference of the log-ratios, each divided by the length of its answer, in nats per token,
        `(batch,)`."""
        return self.chosen_logratio / self.chosen_len - self.rejected_logratio / self.rejected_len


@dataclass(frozen=True, slots=True)
class OnlinePairLogps(PairLogps):
    """Log-probabilities of pairs of sampled completions, labeled by a reward.

    Both completions are sampled from the policy, or one from the policy and one from the reference model.
    `chosen_from_ref` is bool `(batch,)`: True if the chosen completion is the reference model's sample. Ties
    and identical samples have no preference; the rollout drops and counts them, so they are not in this
    input.
    """

    chosen_from_ref: Tensor


@dataclass(frozen=True, slots=True)
class LabeledLogps:
    """Log-probabilities of single answers labeled good or bad, under the policy and the frozen reference
    model.

    `label` is bool `(batch,)`: True for a good answer. `kl` is an estimate of KL(policy || reference) in
    nats, `(batch,)`, without gradient. It is the same number for all rows of a batch and may be negative.
    """

    policy: Tensor
    ref: Tensor
    length: Tensor
    label: Tensor
    kl: Tensor

    @property
    def logratio(self) -> Tensor:
        """log pi - log ref, nats, `(batch,)`."""
        return self.policy - self.ref

    @property
    def reference_point(self) -> Tensor:
        """z = max(0, kl), nats, `(batch,)`. KTO counts a log-ratio above z as a gain, and one below z as a
        loss."""
        return self.kl.clamp(min=0)

    @property
    def margin(self) -> Tensor:
        """Log-ratio minus reference point, multiplied by -1 for a bad answer, nats, `(batch,)`."""
        beyond = self.logratio - self.reference_point
        return torch.where(self.label, beyond, -beyond)


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scalar rewards of the two answers of a pair, each `(batch,)`.

    `score_gap` is the chosen score minus the rejected score in the data, or zero where the data have no
    scores.
    """

    chosen: Tensor
    rejected: Tensor
    score_gap: Tensor


@dataclass(frozen=True, slots=True)
class GroupLogps:
    """Log-probabilities and rewards of k sampled completions per prompt, each tensor `(groups, k)`.

    `policy`, `old`, `ref` and `sampled` are summed log-probabilities in nats. `old` is computed by the
    trainer for the policy that sampled (on-policy: `policy.detach()`); `sampled` is the value that the
    sampler reported, or `old` if unknown. `reward` is the score of the reward functions before any KL term;
    NaN marks a completion that could not be scored. `truncated` is bool: True if the completion reached the
    token limit before its end token. `importance` is pi_old divided by the sampler's probability, capped; 1
    where the policy itself sampled.
    """

    policy: Tensor
    old: Tensor
    ref: Tensor
    reward: Tensor
    length: Tensor
    truncated: Tensor
    importance: Tensor = None  # type: ignore[assignment]  # ones, unless given
    sampled: Tensor = None  # type: ignore[assignment]  # old, unless given

    def __post_init__(self) -> None:
        if self.importance is None:
            object.__setattr__(self, "importance", torch.ones_like(self.old))
        if self.sampled is None:
            object.__setattr__(self, "sampled", self.old)


@dataclass(frozen=True, slots=True)
class GroupTokenLogps(GroupLogps):
    """A `GroupLogps` with the log-probability of every scored token, `(groups, k, positions)`, padded by 0.

    The tensors are None while the policy is unchanged since sampling: every ratio is 1 then, and each token
    of a completion can be represented by the mean per token.
    """

    policy_tokens: Tensor = None  # type: ignore[assignment]  # None as stated above
    old_tokens: Tensor = None  # type: ignore[assignment]
    ref_tokens: Tensor = None  # type: ignore[assignment]

    @property
    def scored(self) -> Tensor:
        """Mask of the positions with a token, bool `(groups, k, positions)`."""
        places = torch.arange(self.policy_tokens.shape[-1], device=self.length.device)
        return places < self.length.unsqueeze(-1)


LossInput = SequenceLogps | PolicyPairLogps | PairLogps | LabeledLogps | PairScores | GroupLogps
"""All input types of losses. `OnlinePairLogps` is a `PairLogps`, `GroupTokenLogps` a `GroupLogps`."""
