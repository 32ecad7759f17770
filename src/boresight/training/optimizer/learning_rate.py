"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from boresight.config.recipe import OptimSection


def learning_rate(step: int, steps: int, optim: OptimSection) -> float:
    """Learning rate of step `step`, `0 <= step < steps`.

    Warm-up rises linearly and reaches the peak at its last step; the first step's rate is not zero. Cosine
    and linear then fall so that the step after the last would have rate zero.
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
    """Sum of the rates of all steps: a bound on how far Adam can move any one weight.

    In closed form, since a recipe may name any number of steps: w steps of warm-up sum to (w + 1) / 2 of the
    peak, and so do n further ones to (n + 1) / 2 of it, linear and cosine alike.
    """
    warm = math.ceil(optim.warmup * steps)
    rest = steps - warm
    rising = (warm + 1) / 2 if warm else 0.0
    falling = float(rest) if optim.schedule == "constant" else (rest + 1) / 2 if rest else 0.0
    return optim.peak * (rising + falling)
