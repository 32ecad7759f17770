"""Compute importance weights of completions that another program sampled with almost the same policy.

    r_t = policy(y_t) / sampler(y_t)        per token, at the rollout's temperature
    w   = min(prod_t r_t, cap)              per completion

A server computes in another precision and with other kernels, so its log-probabilities differ from the
trainer's, and RLOO's gradient is biased by the difference (Yao et al. 2025, "Your efficient RL framework
secretly brings you off-policy RL training"). Truncated importance sampling (Ionides 2008) corrects it at
bounded variance. RLOO treats a whole completion as one action, so a completion has one weight.

If the difference is large, the two models are not the same: the adapter was not loaded, the base model is
another one, or the log-probabilities are for another temperature. The run stops then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from boresight.config.recipe import RolloutSection
from boresight.core.errors import UserError
from boresight.data.batching import micro_batches
from boresight.data.rows import Completion, Row
from boresight.models.eval_mode import arithmetic, evaluation_mode
from boresight.models.packed.logprobs import completion_token_logprobs
from boresight.models.policy import Policy
from boresight.models.sampler.sample import Sample
from boresight.training.rollouts.sampling import completion


@dataclass(frozen=True, slots=True)
class Weighed:
    """Importance weights `(completions,)`, and metrics of the difference between the two models."""

    weights: np.ndarray
    numbers: dict[str, float]


def weigh(policy: Sequence[np.ndarray], sampler: Sequence[np.ndarray], cap: float) -> Weighed:
    """Compute truncated importance weights `(completions,)`.

    Args:
        policy: log-probabilities of each completion's tokens under the policy, nats, `(tokens,)` each.
        sampler: the same log-probabilities under the sampler.
        cap: maximum weight.
    """
    gaps = [
        np.asarray(p, np.float64) - np.asarray(s, np.float64) for p, s in zip(policy, sampler, strict=True)
    ]
    whole = np.exp([gap.sum() for gap in gaps])
    tokens = np.concatenate(gaps)
    return Weighed(
        weights=np.minimum(whole, cap),
        numbers={
            "importance_mean": float(np.minimum(whole, cap).mean()),
            "importance_clipped": float((whole > cap).mean()),
            "importance_token_ratio": float(np.exp(tokens).mean()),
            "importance_token_gap": float(np.abs(tokens).mean()),
        },
    )


class ImportanceGate:
    """Recomputes a server's completions under the policy, for their log-probabilities and importance weights.

    Args:
        dtype: precision in which the policy is run.

    Raises:
        UserError: when it is called, if the mean |log policy - log sampler| per token is above
            `rollout.importance_bound`.
    """

    def __init__(
        self,
        policy: Policy,
        settings: RolloutSection,
        tokens_per_forward: int,
        dtype: str = "float32",
        kernels: str = "proven",
    ) -> None:
        self.policy, self.settings = policy, settings
        self.tokens_per_forward, self.dtype, self.kernels = tokens_per_forward, dtype, kernels

    def __call__(
        self, prompts: Sequence[np.ndarray], samples: Sequence[Sequence[Sample]]
    ) -> tuple[list[tuple[Completion, ...]], dict[str, float]]:
        """Return the completions `result[prompt][k]` with their weights, and metrics of the weights."""
        groups = [tuple(map(completion, group)) for group in samples]
        rows = [
            Row(str(i), prompt, group) for i, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
        ]
        ours = self._policy_logps(rows)
        found = weigh(ours, [s.logps for group in samples for s in group], self.settings.importance_cap)
        self._refuse_large_gap(found.numbers["importance_token_gap"])
        flat = iter(zip(ours, found.weights, strict=True))
        weighed = [tuple(_weighed(c, *next(flat)) for c in group) for group in groups]
        return weighed, found.numbers

    def _policy_logps(self, rows: Sequence[Row]) -> list[np.ndarray]:
        """Return the log-probabilities of each completion's tokens, in the order of `rows`."""
        found: dict[str, list[np.ndarray]] = {}
        limit = self.tokens_per_forward
        with evaluation_mode(self.policy), arithmetic(self.policy, self.dtype, limit, self.kernels):
            for batch in micro_batches(rows, limit):  # the longest first
                scored = completion_token_logprobs(self.policy, batch, temperature=self.settings.temperature)
                for row, group in zip(batch, scored, strict=True):
                    found[row.id] = [logps.double().cpu().numpy() for logps in group]
        return [logps for row in rows for logps in found[row.id]]

    def _refuse_large_gap(self, gap: float) -> None:
        if gap <= self.settings.importance_bound:
            return
        raise UserError(
            f"rollout: the server's log-probabilities are {gap:.3g} nats per token away from the policy's, "
            f"more than rollout.importance_bound ({self.settings.importance_bound:g}); serve the same base "
            "model, and at a temperature other than 1 start it with --logprobs-mode processed_logprobs."
        )


def _weighed(sampled: Completion, logps: np.ndarray, weight: float) -> Completion:
    return replace(sampled, sampled_logp=float(logps.sum()), importance=float(weight))
