"""Time and memory of a planned run, extrapolated from a probe of it."""

from __future__ import annotations

from boresight.checks.forecast.ramp import Ramp
from boresight.checks.run.machine import Load
from boresight.checks.run.measured_use import MeasuredUse
from boresight.runs.check.rollout_probe import RolloutProbe

SMALLEST_GB = 0.05
"""Smallest difference in memory that is reported, GB."""


def use_by_ramp(load: Load, ramp: Ramp) -> MeasuredUse:
    """Extrapolate time and memory of a run from a ramp, whose steps may be smaller.

    Time is scaled by the number of tokens. Memory is that of the ramp, plus an estimate of the difference if
    the forwards of the run are larger.
    """
    pace, limit = ramp.tokens_per_second, load.tokens_per_forward
    seconds = load.tokens / pace if load.tokens is not None and pace else None
    source = f"a ramp of this run{', scaled by tokens' if seconds is not None else ''}"
    tokens = load.forward_tokens
    seen = min(limit, ramp.step_tokens or limit)
    more = max(0.0, load.activations_gb(tokens) - load.activations_gb(seen))
    if more >= SMALLEST_GB:
        source += (
            f"; {more:.1f} GB of the memory are estimated, for forwards of {tokens:,.0f} tokens where the "
            f"ramp's had {seen:,.0f}"
        )
    return MeasuredUse(seconds, ramp.peak_memory_gb + more, source)


def use_by_rollouts(load: Load, probed: RolloutProbe, steps: int) -> MeasuredUse:
    """Extrapolate time and memory of a run that samples its completions from rollouts of its start model.

    Each rollout is used for `rollout.updates` steps. Each step computes one gradient, also of earlier pairs
    if the method replays some. The probe takes no step, so the memory of Adam's two moments is added to that
    of the probe.

    Args:
        steps: number of optimizer steps.
    """
    updates = probed.updates
    gradient = probed.gradient * (1 + load.recipe.method.replays)
    seconds = steps / updates * probed.sampling + steps * gradient
    moments = load.footprint.moments_gb
    source = "rollouts of the start model, as long as answers stay as long as its own"
    if moments >= SMALLEST_GB:
        source += f"; {moments:.1f} GB of the memory are Adam's moments, by their number"
    return MeasuredUse(seconds, probed.memory_gb + moments, source)
