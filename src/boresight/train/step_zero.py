"""What must be true before the first update, whatever the method.

The policy still is the reference, so every log-ratio is zero and the loss is the one that the
method's own formula gives when the policy's log-probabilities are replaced by the reference's: ln 2
for DPO, (1 / 2 tau)^2 for IPO. A run that starts elsewhere compares two different models or two
different texts, and nothing it learns means what its curves say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boresight.errors import UserError
from boresight.methods.inputs import LossOutput
from boresight.train.forward import at_reference, largest_log_ratio

CAUSES = (
    "dropout of the model itself is active in the policy but not in the reference",
    "the adapter does not start at zero",
    "the reference was computed with other weights or in another precision",
    "the reference saw other tokens: another template or another truncation",
)


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


def check(x: Any, out: LossOutput, loss: Any, cfg: Any, *, half_precision: bool) -> StepZero | None:
    """Check the first micro-batch; None for inputs without a reference.

    Raises:
        UserError: the loss or a log-ratio is off, with the likely causes in order.
    """
    log_ratio = largest_log_ratio(x)
    if log_ratio is None:
        return None
    expected = float(loss(at_reference(x), cfg).loss.detach())
    found = StepZero(float(out.loss.detach()), expected, log_ratio)
    slack = 100.0 if half_precision else 1.0
    loss_tolerance = 1e-4 * slack * max(1.0, abs(expected))
    if log_ratio > 1e-3 * slack or abs(found.loss - expected) > loss_tolerance:
        raise UserError(
            f"{found}: the policy is not the reference before training; likely: {'; '.join(CAUSES)}."
        )
    return found
