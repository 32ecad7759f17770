"""Check the loss and the log-probabilities before the first update, for every method.

The policy equals the reference then, so every log-ratio is zero and the loss is that of the method's own
formula with the policy's log-probabilities replaced by the reference's: ln 2 for DPO, (1 / 2 tau)^2 for IPO.
A run with another initial loss compares two different models or two different texts, and its curves are
meaningless.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from boresight.core.errors import UserError
from boresight.methods.base import MethodConfig
from boresight.methods.inputs import GroupLogps, LabeledLogps, LossInput, LossOutput, PairLogps
from boresight.models.precision import Disagreement
from boresight.training.forward import at_reference, log_ratios
from boresight.training.metrics import RowMetrics, sampler_gap

CAUSES = (
    "dropout or a random choice of experts is active in the policy but not in the reference (set "
    "model.dropout=0)",
    "the adapter does not start at zero",
    "the reference was computed with other weights or in another precision",
    "the reference saw other tokens: another template or another truncation",
)


LARGEST_LOG_RATIO = 1e-3
"""Maximum |log-ratio| of a completion before training, in nats, if both models are computed in float32."""
LARGEST_GAP = 1e-4
"""Maximum difference between sampler and trainer, in nats per token, both in float32; a tenth of it is usual
for SmolLM2-135M."""
KL_TOKENS = 100
"""Number of tokens that is assumed for the answers of a KL estimate, unless those of the batch are longer."""


@dataclass(frozen=True, slots=True)
class StepZero:
    """Result of the check: the loss, the expected loss, and the largest |log-ratio| in nats."""

    loss: float
    expected: float
    log_ratio: float

    def __str__(self) -> str:
        return (
            f"step 0: loss {self.loss:.4f}, expected {self.expected:.4f}; "
            f"margins 0 (largest |log-ratio| {self.log_ratio:.1e} nats)"
        )


def check_sampler(policy: Tensor, drawn: Tensor, length: Tensor, *, noise: float, step: int = 0) -> str:
    """Check that the policy gives fresh samples the log-probabilities with which they were sampled.

    Args:
        policy: log-probabilities of the completions under the policy, nats.
        drawn: log-probabilities with which the sampler drew them, nats, of the same shape.
        length: number of scored tokens of each completion, of the same shape.
        noise: standard deviation of the rounding error of a token's log-probability, nats; 0 for float32.
        step: number of updates so far.

    Returns:
        A sentence for the log.

    Raises:
        UserError: sampler and trainer disagree; the message lists the likely causes.
    """
    gap = policy.detach() - drawn.to(policy)
    largest = float(sampler_gap(policy.detach(), drawn.to(policy), length).max())
    _refuse_gap(largest, Disagreement.of(gap, length), noise, step)
    return f"step {step}: sampler and trainer agree to {largest:.1e} nats per token"


def check_fresh(measured: RowMetrics, *, completions: int, noise: float, step: int) -> None:
    """Check as `check_sampler` does, from the metrics of a step's rows.

    Does nothing if no answer was sampled.

    Args:
        completions: number of completions per row.
    """
    if "sampler_gap" not in measured:
        return
    tokens = measured["length"].double() * completions
    found = Disagreement(
        mean=float((measured["sampler_shift"] * tokens).sum() / tokens.sum()),
        tokens=float(tokens.sum()),
        largest=float(measured["sampler_spread"].max()),
    )
    _refuse_gap(float(measured["sampler_gap"].max()), found, noise, step)


def _refuse_gap(largest: float, found: Disagreement, noise: float, step: int) -> None:
    """Raise a `UserError` if sampler and trainer differ too much.

    In float32 `largest`, nats per token, is compared with its limit; in half precision `found` must be within
    rounding errors.
    """
    beyond = found.beyond_rounding(noise) if noise else None
    if beyond is None and (noise or largest <= LARGEST_GAP):
        return
    raise UserError(
        f"step {step}: sampler and trainer differ by {largest:.2g} nats per token"
        f"{f' ({beyond})' if beyond else ''}; likely: dropout is on in training (set model.dropout=0 and "
        "model.lora.dropout=0), another temperature, or other tokens than were sampled."
    )


def check_initial_loss(
    x: LossInput,
    out: LossOutput,
    loss: Callable[[LossInput, MethodConfig], LossOutput],
    cfg: MethodConfig,
    *,
    noise: float,
    drawn: Tensor | None = None,
    reference: Tensor | None = None,
) -> str | None:
    """Check the loss of the first micro-batch.

    Args:
        noise: standard deviation of the rounding error of a token's log-probability, nats; 0 for float32.
        drawn: log-probabilities `(rows, 2)` with which this process sampled pairs, nats; before the first
            update both sides are sampled from the same model. None for other rows.
        reference: log-probabilities of sampled groups under the reference, nats; None if the method has none.

    Returns:
        A sentence for the log; None if there is nothing to compare with.

    Raises:
        UserError: the loss or a log-ratio is not as expected; the message lists the likely causes.
    """
    if isinstance(x, GroupLogps):
        ref = x.policy if reference is None else reference.to(x.policy)
        if beyond := _beyond_zero(x.policy.detach() - ref, x.length, noise):
            raise _not_the_reference(f"step 0: {beyond}")
        return check_sampler(x.policy, x.sampled, x.length, noise=noise)
    if not isinstance(x, PairLogps | LabeledLogps):
        return None
    expected = float(loss(at_reference(x), cfg).loss.detach())
    found = StepZero(float(out.loss.detach()), expected, _largest_log_ratio(x))
    if beyond := _beyond_start(x, found, noise):
        raise _not_the_reference(f"{found}: {beyond}" if noise else str(found))
    if drawn is None or not isinstance(x, PairLogps):
        return str(found)
    policy = torch.stack([x.policy_chosen, x.policy_rejected], dim=1)
    length = torch.stack([x.chosen_len, x.rejected_len], dim=1)
    return f"{found}\n{check_sampler(policy, drawn, length, noise=noise)}"


def _largest_log_ratio(x: PairLogps | LabeledLogps) -> float:
    """Return the largest |log pi - log ref| of the batch, in nats, including its estimate of the KL."""
    gap, _ = log_ratios(x)
    return float((torch.cat([gap, x.kl]) if isinstance(x, LabeledLogps) else gap).abs().max())


def _beyond_start(x: PairLogps | LabeledLogps, found: StepZero, noise: float) -> str | None:
    """Return the deviation of the first loss from that of the reference, as text; None if there is none.

    In half precision only the log-ratios are compared, since the effect of rounding on the loss depends on
    the method.
    """
    gap, length = log_ratios(x)
    if beyond := _beyond_zero(gap, length, noise):
        return beyond
    if isinstance(x, LabeledLogps):
        longest = length.max().clamp(min=KL_TOKENS)
        if beyond := _beyond_zero(x.kl[:1], longest[None], noise):
            return f"in the estimate of the KL {beyond}"
    if not abs(found.loss - found.expected) <= (math.inf if noise else 1e-4 * max(1.0, abs(found.expected))):
        return "the loss is not the expected one"
    return None


def _beyond_zero(gap: Tensor, length: Tensor, noise: float) -> str | None:
    """Return the deviation of log-ratios from 0, as text; None if it is within the limit.

    Args:
        gap: log-ratios of completions, nats.
        length: number of tokens of each completion.
    """
    if noise:
        return Disagreement.of(gap, length).beyond_rounding(noise)
    largest = float(gap.detach().abs().max())
    return None if largest <= LARGEST_LOG_RATIO else f"largest |log-ratio| {largest:.1e} nats"


def _not_the_reference(found: str) -> UserError:
    return UserError(
        f"{found}: the policy is not the reference before training; likely: {'; '.join(CAUSES)}."
    )
