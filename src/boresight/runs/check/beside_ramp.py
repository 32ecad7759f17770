"""Compare a finished run with the forecast of the learning-rate ramp that it was planned with."""

from __future__ import annotations

from boresight.checks.forecast.ramp import Ramp
from boresight.core.wording import format_duration
from boresight.reports.machine_use import MachineUse
from boresight.reports.read_run import RunData


def beside_the_ramp(run: RunData, ramp: Ramp) -> list[str]:
    """Return sentences that compare margin, sum of learning rates, time and memory with the ramp's forecast.

    Quantities that the run or the ramp does not have are omitted.
    """
    return [*_margin(run, ramp), *_use(MachineUse.of(run))]


def _use(use: MachineUse) -> list[str]:
    said = []
    if use.seconds is not None and use.seconds_by_ramp is not None:
        said.append(
            f"At the ramp's pace its tokens take {format_duration(use.seconds_by_ramp)} of training steps; "
            f"they took {format_duration(use.seconds)}."
        )
    if use.memory_gb is not None and use.memory_by_ramp_gb is not None:
        said.append(
            f"Peak memory was {use.memory_by_ramp_gb:.1f} GB in the ramp, {use.memory_gb:.1f} GB in the run."
        )
    return said


def _margin(run: RunData, ramp: Ramp) -> list[str]:
    budget = _spent(run)
    expected = ramp.expect(budget) if budget else None
    measured = next((m for m in run.metrics if m.name == "margin" and m.unit == "nats"), None)
    if expected is None or budget is None or measured is None or measured.after is None:
        return []
    reached = measured.after
    if reached.high < expected.low or reached.low > expected.high:
        how = "below the range" if reached.high < expected.low else "above the range"
    else:
        how = "as forecast"
    limit = ramp.limit
    harmless = f", {budget / limit.budget:.2g} times what the ramp found harmless" if limit.why else ""
    return [
        f"The ramp forecast a margin of {expected.middle:.2g} nats ({expected.low:.2g} to "
        f"{expected.high:.2g}); "
        f"the run reached {reached.value:.2g} [{reached.low:.2g}, {reached.high:.2g}], {how}.",
        f"Its learning rates sum to {budget:.1e}{harmless}.",
    ]


def _spent(run: RunData) -> float | None:
    """Return the sum of learning rates of the trained model's steps; None for the start model."""
    sums = {line["step"]: float(line["lr_sum"]) for line in run.train if "lr_sum" in line}
    return sums.get(run.model_step)
