"""Check on a few rows that policy and reference agree before the first update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from boresight.data.rows import Row
from boresight.findings.finding import Finding, error
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.policy import Policy
from boresight.models.precision import Disagreement
from boresight.models.reference.frozen import Reference

TOLERANCE = 1e-3
"""Maximum difference of two log-probabilities of a row in float32, in nats; rounding errors are a hundred
times smaller."""


@dataclass(frozen=True)
class FirstStep:
    """A policy, its reference and some rows; log-probabilities are computed on first access."""

    policy: Policy
    reference: Reference
    rows: Sequence[Row]
    noise: float = 0.0
    """Standard deviation of the rounding error of a token's log-probability, in nats; 0 for float32."""

    @cached_property
    def ref(self) -> Tensor:
        """Log-probabilities under the reference, `(rows, k)`, nats."""
        return self.reference(self.rows)

    @cached_property
    def trained(self) -> Tensor:
        """Log-probabilities under the policy in training mode, `(rows, k)`, nats."""
        return self._policy(training=True)

    @cached_property
    def tested(self) -> Tensor:
        """Log-probabilities under the policy in evaluation mode (no dropout), `(rows, k)`, nats."""
        return self._policy(training=False)

    def differ(self, a: Tensor, b: Tensor) -> bool:
        """Return whether two tensors of log-probabilities `(rows, k)` differ by more than rounding errors."""
        if not self.noise:
            return _gap(a, b) > TOLERANCE
        length = torch.tensor([[float(c.scored) for c in row.completions] for row in self.rows])
        return Disagreement.of((a - b).nan_to_num(0.0), length).beyond_rounding(self.noise) is not None

    def _policy(self, *, training: bool) -> Tensor:
        before = self.policy.training
        self.policy.train(training)
        with torch.no_grad():
            sums = completion_logprobs(self.policy, self.rows).sums.float().cpu()
        self.policy.train(before)
        return sums


def logps_not_finite(first: FirstStep) -> Finding | None:
    """Return the finding `logps-not-finite` if a row's log-probability is NaN or infinite, else None."""
    bad = ~first.tested.isfinite().all(dim=1)
    if not bad.any():
        return None
    ids = [row.id for row, is_bad in zip(first.rows, bad.tolist(), strict=True) if is_bad]
    return error(
        "logps-not-finite",
        f"The start model gives {len(ids)} of {len(first.rows)} rows a log-probability that is NaN or "
        "infinite.",
        "Look for broken weights (all rows) or a malformed row (some), and compute in float32.",
        ids=ids,
    )


def dropout_in_reference(first: FirstStep) -> Finding | None:
    """Return the finding `dropout-in-reference` if the reference is not deterministic, else None.

    Two forward passes over the same rows are compared.
    """
    again = first.reference(first.rows)
    if not first.differ(again, first.ref):
        return None
    return error(
        "dropout-in-reference",
        f"The reference gives the same rows log-probabilities that differ by up to "
        f"{_gap(again, first.ref):.2g} nats in two forward passes: dropout is on in it.",
        "Put the reference into evaluation mode.",
    )


def dropout_in_training(first: FirstStep) -> Finding | None:
    """Return the finding `dropout-in-training` if training mode changes the policy, else None.

    In evaluation mode the policy must equal the reference; otherwise `reference_not_policy` is the finding.
    """
    if not first.differ(first.trained, first.tested) or first.differ(first.tested, first.ref):
        return None
    gap = _gap(first.trained, first.tested)
    return error(
        "dropout-in-training",
        f"In training mode the policy differs from the reference by up to {gap:.2g} nats per row, in "
        "evaluation mode it "
        "does not: the model's own dropout is on.",
        "Set model.dropout to 0.",
    )


def reference_not_policy(first: FirstStep) -> Finding | None:
    """Return the finding `reference-not-policy` if policy and reference differ at the start, else None.

    They differ if they are two different models, or if they are computed on different tokens.
    """
    if not first.differ(first.tested, first.ref):
        return None
    gap = _gap(first.tested, first.ref)
    return error(
        "reference-not-policy",
        f"Before training the policy differs from its reference by up to {gap:.2g} nats per row, so the "
        "margins do not "
        "start at 0.",
        "Load both from the same weights, in one precision, with one template and one truncation.",
    )


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().nan_to_num(0.0).max())
