"""What must be true before the first update, whatever the method.

The policy still is the reference, so every log-ratio is zero and the loss is the one that the
method's own formula gives when the policy's log-probabilities are replaced by the reference's: ln 2
for DPO, (1 / 2 tau)^2 for IPO. A run that starts elsewhere compares two different models or two
different texts, and nothing it learns means what its curves say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from boresight.core.errors import UserError
from boresight.methods.base import MethodConfig
from boresight.methods.inputs import GroupLogps, LabeledLogps, LossInput, LossOutput, PairLogps
from boresight.training.forward import at_reference, largest_log_ratio
from boresight.training.metrics import RowMetrics, sampler_gap

CAUSES = (
    "dropout or a random choice of experts is active in the policy but not in the reference (set "
    "model.dropout=0)",
    "the adapter does not start at zero",
    "the reference was computed with other weights or in another precision",
    "the reference saw other tokens: another template or another truncation",
)


LARGEST_LOG_RATIO = 1e-3
"""Nats between policy and reference before training, both computed in float32."""
LARGEST_GAP = 1e-4
"""Nats a token between sampler and trainer, both in float32; SmolLM2-135M shows a tenth of it."""
HALF_PRECISION_GAP = 0.02
"""The same between a float32 sampler and a bfloat16 trainer; four answers of SmolLM2-135M gave 0.008."""


@dataclass(frozen=True, slots=True)
class StepZero:
    """The check's outcome: `loss` against `expected`, and the largest |log-ratio| in nats."""

    loss: float
    expected: float
    log_ratio: float

    def __str__(self) -> str:
        return (
            f"step 0: loss {self.loss:.4f}, expected {self.expected:.4f}; "
            f"margins 0 (largest |log-ratio| {self.log_ratio:.1e} nats)"
        )


def check_sampler(
    policy: Tensor, drawn: Tensor, length: Tensor, *, half_precision: bool, step: int = 0
) -> str:
    """Before an update on fresh samples the policy must give them the log-probability they were drawn with.

    All three have one shape: nats, nats, and tokens of each completion. `step` counts the updates made.

    Raises:
        UserError: sampler and trainer disagree, with the likely causes in order.
    """
    gap = float(sampler_gap(policy.detach(), drawn.to(policy), length).max())
    _refuse_gap(gap, half_precision, step)
    return f"step {step}: sampler and trainer agree to {gap:.1e} nats a token"


def check_fresh(measured: RowMetrics, *, half_precision: bool, step: int) -> None:
    """The same of a step's logged rows; nothing where the answers were given and not sampled."""
    if "sampler_gap" in measured:
        _refuse_gap(float(measured["sampler_gap"].max()), half_precision, step)


def _refuse_gap(gap: float, half_precision: bool, step: int) -> None:
    if gap > (HALF_PRECISION_GAP if half_precision else LARGEST_GAP):
        raise UserError(
            f"step {step}: sampler and trainer differ by {gap:.2g} nats a token; likely: dropout is on in "
            "training (set model.dropout=0 and model.lora.dropout=0), another temperature, or other tokens "
            "than were sampled."
        )


def check_initial_loss(
    x: LossInput,
    out: LossOutput,
    loss: Callable[[LossInput, MethodConfig], LossOutput],
    cfg: MethodConfig,
    *,
    half_precision: bool,
    drawn: Tensor | None = None,
    reference: Tensor | None = None,
) -> str | None:
    """Check the first micro-batch; None where there is nothing to compare with.

    `reference` are the log-probabilities of sampled groups under the reference, where the method has one.
    `drawn` are the log-probabilities `(rows, 2)` that sampled pairs were drawn with, by this process: before
    the first update by one and the same model, whichever side a sample is on.

    Raises:
        UserError: the loss or a log-ratio is off, with the likely causes in order.
    """
    slack = 100.0 if half_precision else 1.0
    if isinstance(x, GroupLogps):
        ref = x.policy if reference is None else reference.to(x.policy)
        log_ratio = float((x.policy - ref).detach().abs().max())
        if log_ratio > LARGEST_LOG_RATIO * slack:
            raise _not_the_reference(f"step 0: largest |log-ratio| {log_ratio:.1e} nats")
        return check_sampler(x.policy, x.sampled, x.length, half_precision=half_precision)
    if not isinstance(x, PairLogps | LabeledLogps):
        return None
    log_ratio = largest_log_ratio(x)
    expected = float(loss(at_reference(x), cfg).loss.detach())
    found = StepZero(float(out.loss.detach()), expected, log_ratio)
    loss_tolerance = 1e-4 * slack * max(1.0, abs(expected))
    if log_ratio > LARGEST_LOG_RATIO * slack or abs(found.loss - expected) > loss_tolerance:
        raise _not_the_reference(str(found))
    if drawn is None or not isinstance(x, PairLogps):
        return str(found)
    policy = torch.stack([x.policy_chosen, x.policy_rejected], dim=1)
    length = torch.stack([x.chosen_len, x.rejected_len], dim=1)
    return f"{found}\n{check_sampler(policy, drawn, length, half_precision=half_precision)}"


def _not_the_reference(found: str) -> UserError:
    return UserError(
        f"{found}: the policy is not the reference before training; likely: {'; '.join(CAUSES)}."
    )
