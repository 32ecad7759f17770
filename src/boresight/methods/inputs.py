"""Inputs and outputs of losses: frozen dataclasses of plain tensors, nothing else.

The annotation of a loss's first argument is one of these types, and it alone chooses the forward
pass (`training/forward.py`). All log-probabilities are sums over the scored tokens of a completion, in
nats, float32, shape `(batch,)`; lengths are counts of scored tokens, float32, `(batch,)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from boresight.core.errors import UserError


@dataclass(frozen=True, slots=True)
class LossOutput:
    """The result of a loss.

    `loss` is a scalar: the mean of what the method averages over. `per_example` is `(batch,)`. `weight` is
    the number of things that mean runs over (pairs, tokens, scorable completions), as a number or, to avoid a
    synchronization with the GPU, a scalar tensor. `loss * weight` summed over micro-batches and divided by
    the summed weights is the loss of the whole batch, however it is divided. With nothing to average, loss
    and weight are 0. `metrics` are detached, each `(batch,)`; NaN marks a row that has no value.
    """

    loss: Tensor
    per_example: Tensor
    weight: float | Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    counts: Tensor | None = None
    """Contribution of each example to `weight`, `(batch,)`, such as its tokens; None if each counts 1."""

    @classmethod
    def mean_of(cls, per_example: Tensor, **metrics: Tensor) -> LossOutput:
        """The plain mean over examples `(batch,)`, each counted once."""
        count = per_example.numel()
        return cls(
            loss=per_example.sum() / max(count, 1),
            per_example=per_example,
            weight=float(count),
            metrics={name: value.detach() for name, value in metrics.items()},
        )

    def by_weights(self, weights: Tensor) -> LossOutput:
        """The mean with `weights` `(batch,)` of the examples: a weight of 2 counts the example twice.

        Raises:
            UserError: the loss is no mean of `per_example` by `counts`, so that weights have no meaning.
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
    """weight · term, of the shape of `term`; exactly 0 where the weight is 0, since 0 · NaN and 0 · inf
    are NaN."""
    return weight * term if weight else torch.zeros_like(term)


@dataclass(frozen=True, slots=True)
class SequenceLogps:
    """Demonstrations: one completion per row."""

    policy: Tensor
    length: Tensor


@dataclass(frozen=True, slots=True)
class PolicyPairLogps:
    """Preference pairs for methods without a reference model."""

    policy_chosen: Tensor
    policy_rejected: Tensor
    chosen_len: Tensor
    rejected_len: Tensor


@dataclass(frozen=True, slots=True)
class PairLogps:
    """Preference pairs under the policy and the frozen reference."""

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
        """Each log-ratio divided by its own length, then subtracted, nats per token, `(batch,)`."""
        return self.chosen_logratio / self.chosen_len - self.rejected_logratio / self.rejected_len


@dataclass(frozen=True, slots=True)
class OnlinePairLogps(PairLogps):
    """Pairs of sampled completions, labeled by a reward: both the policy's, or one of them the reference's.

    `chosen_from_ref` is bool `(batch,)`: True where the reference's sample won. Ties and identical samples
    have no preference; the rollout drops and counts them, so they are not in this input.
    """

    chosen_from_ref: Tensor


@dataclass(frozen=True, slots=True)
class LabeledLogps:
    """Single answers labeled good or bad, under the policy and the frozen reference.

    `label` is bool `(batch,)`: True for a good answer. `kl` is `(batch,)`, without gradient: an estimate of
    KL(policy || reference), nats, that is one number for all rows of a batch and may be negative.
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
        """z = max(0, kl), nats, `(batch,)`: log-ratios above it count as a gain, below it as a loss."""
        return self.kl.clamp(min=0)

    @property
    def margin(self) -> Tensor:
        """Log-ratio minus reference point, sign turned for a bad answer, nats, `(batch,)`."""
        beyond = self.logratio - self.reference_point
        return torch.where(self.label, beyond, -beyond)


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scalar rewards of the two answers of a pair, `(batch,)`.

    `score_gap` is the source's chosen score minus rejected score, zero where it has none.
    """

    chosen: Tensor
    rejected: Tensor
    score_gap: Tensor


@dataclass(frozen=True, slots=True)
class GroupLogps:
    """Groups of k sampled completions per prompt, each tensor `(groups, k)`.

    `policy`, `old`, `ref` and `sampled` are summed log-probabilities, nats. `old` is that of the policy that
    sampled, computed by the trainer (on-policy: `policy.detach()`); `sampled` is the sampler's own value, or
    `old` if unknown. `reward` is the score of reward functions before any KL term; NaN marks an unscorable
    completion. `truncated` is bool: True where the token limit cut the completion before its end token.
    `importance` is pi_old over the sampler's probability, truncated; 1 where the policy itself sampled.
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
    """A `GroupLogps` with the log-probability of every scored token, `(groups, k, longest)`, 0 after the last
    one.

    None while the policy is unchanged since sampling: every ratio is 1 then, and the mean of a completion is
    used for each of its tokens.
    """

    policy_tokens: Tensor = None  # type: ignore[assignment]  # None as stated above
    old_tokens: Tensor = None  # type: ignore[assignment]
    ref_tokens: Tensor = None  # type: ignore[assignment]

    @property
    def scored(self) -> Tensor:
        """True at positions with a token, bool `(groups, k, longest)`."""
        places = torch.arange(self.policy_tokens.shape[-1], device=self.length.device)
        return places < self.length.unsqueeze(-1)


LossInput = SequenceLogps | PolicyPairLogps | PairLogps | LabeledLogps | PairScores | GroupLogps
"""All input types of losses. `OnlinePairLogps` is a `PairLogps`, `GroupTokenLogps` a `GroupLogps`."""
