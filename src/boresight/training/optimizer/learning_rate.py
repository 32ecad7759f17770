"""Compute learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from boresight.config.recipe import OptimSection


def learning_rate(step: int, steps: int, optim: OptimSection) -> float:
    """Return the learning rate of step `step`, `0 <= step < steps`.

    Warm-up rises linearly and reaches the peak at its last step; the rate of the first step is not zero.
    Cosine and linear schedules then decrease such that the step after the last would have rate zero.
    """
    warm = math.ceil(optim.warmup * steps)
    if step < warm:
        return optim.peak * (step + 1) / warm
    if optim.schedule == "constant":
        return optim.peak
    done = (step - warm) / max(1, steps - warm)
    if optim.schedule == "linear":
        return optim.peak * (1 - done)
    return optim.peak * 0.5 * (1 + math.cos(math.pi * done))


def learning_rate_sum(steps: int, optim: OptimSection) -> float:
    """Return the sum of the learning rates of all steps, a bound on how far Adam can change any weight.

    It is computed in closed form, since a recipe may have any number of steps: w warm-up steps sum to (w + 1)
    / 2 of the peak, and n further steps to (n + 1) / 2 of it, for linear and cosine schedules alike.
    """
    warm = math.ceil(optim.warmup * steps)
    rest = steps - warm
    rising = (warm + 1) / 2 if warm else 0.0
    falling = float(rest) if optim.schedule == "constant" else (rest + 1) / 2 if rest else 0.0
    return optim.peak * (rising + falling)
