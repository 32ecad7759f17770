"""What a run can be expected to show, before it is started: margin, accuracy, and the curve one will see."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from boresight import methods
from boresight.checks.forecast import calibration
from boresight.checks.forecast.bf16 import share_of_normal
from boresight.checks.forecast.calibration import Expectation
from boresight.checks.forecast.expected_loss import expected_loss
from boresight.checks.forecast.nearest import nearest_published
from boresight.config.recipe import Recipe
from boresight.findings.finding import Finding, error, warning
from boresight.methods.published import LADDERS, Ladder, Published
from boresight.training.forward import INPUT_KINDS
from boresight.training.optim import learning_rate_sum

GOOD_MARGIN = 3.0
"""Nats on held-out pairs at which runs up to 1B have gained most of their accuracy."""

Ends = tuple[float, float, float, float]
"""Loss at the start, and at the low, middle and high margin."""


@dataclass(frozen=True)
class Forecast:
    """The budget and what it should buy.

    `margin` is in nats on held-out pairs; it and `loss` are None where no curve applies: methods whose loss
    the margin does not decide (`expected_loss`), sampled answers, or very small models.
    """

    recipe: Recipe
    steps: int
    budget: float
    parameters: int | None
    margin: Expectation | None
    loss: Ends | None
    movable: float
    ladder: Ladder
    published: list[Published]

    @property
    def flat(self) -> bool:
        """Whether the loss curve will look flat: it is expected to move by less than a twentieth."""
        return self.loss is not None and abs(self.loss[0] - self.loss[2]) < 0.05 * abs(self.loss[0])

    @property
    def wanted(self) -> float | None:
        """The sum of learning rates that should buy `GOOD_MARGIN`; None where no curve applies."""
        if self.margin is None or self.parameters is None:
            return None
        family = calibration.choose(
            self.parameters, self.recipe.model.lora is not None, self.recipe.check.like
        )
        return family.budget(GOOD_MARGIN) if family else None


def forecast(recipe: Recipe, steps: int, parameters: int | None) -> Forecast:
    """Forecast a run of `steps` optimiser steps on a model of `parameters` parameters (None: unknown)."""
    lora = recipe.model.lora is not None
    budget = learning_rate_sum(steps, recipe.optim)
    chosen = methods.get(recipe.method_name)
    kind = INPUT_KINDS[chosen.Input]
    # The curves were measured on pairs that are given, not sampled.
    curve = partial(expected_loss, chosen, recipe.method.at(0.0)) if not kind.online else None
    margin = None
    if curve and curve(0.0) is not None:
        margin = calibration.expect(budget, parameters, lora, recipe.check.like)
    return Forecast(
        recipe=recipe,
        steps=steps,
        budget=budget,
        parameters=parameters,
        margin=margin,
        loss=_ends(curve, margin) if curve and margin else None,
        movable=share_of_normal(recipe.optim.lr),
        ladder=LADDERS[kind.data, lora],
        published=nearest_published(recipe.method_name, parameters),
    )


def _ends(curve: Callable[[float], float | None], margin: Expectation) -> Ends | None:
    """The loss at the start and at the low, middle and high margin."""
    start, low, middle, high = map(curve, (0.0, margin.low, margin.middle, margin.high))
    if start is None or low is None or middle is None or high is None:
        return None
    return start, low, middle, high


# Findings -----------------------------------------------------------------------------------------------


def learning_rate_too_high(f: Forecast) -> Finding | None:
    """A learning rate at which runs of this kind fall apart."""
    if f.parameters is None or f.parameters < calibration.SMALLEST_MODEL:
        return None
    lr, limit = f.recipe.optim.lr, f.ladder.too_high
    if lr < limit / 2:
        return None
    say = error if lr >= limit else warning
    return say(
        "learning-rate-too-high",
        f"The learning rate {lr:g} is {lr / f.ladder.lrs[-1]:.0f} times the highest that published runs of "
        f"this kind use ({f.ladder.lrs[-1]:g}): expect repetition and broken sentences.",
        f"Try {f.ladder}.",
        numbers=(("lr", lr),),
    )


def learning_rate_budget(f: Forecast) -> Finding | None:
    """The learning rates sum to too little to learn anything."""
    if f.margin is None or f.loss is None or f.wanted is None or f.margin.middle >= 1.0:
        return None
    say = error if f.margin.middle < 0.5 and f.steps >= 20 else warning
    accuracy = f" and accuracy about {f.margin.accuracy:.2f}" if f.margin.accuracy else ""
    return say(
        "learning-rate-budget",
        f"The learning rates sum to {f.budget:.1e} over {f.steps:,} steps, which buys a margin of about "
        f"{f.margin.middle:.2g} nats ({f.margin.low:.2g} to {f.margin.high:.2g}){accuracy}: "
        f"{curve_in_words(f)}.",
        f"Reach a sum of {f.wanted:.0e}, {f.wanted / f.budget:,.0f} times as much: {ways_to(f, f.wanted)}.",
        numbers=(("budget", f.budget), ("margin", f.margin.middle), ("wanted", f.wanted)),
    )


def over_optimisation_ahead(f: Forecast) -> Finding | None:
    """A budget that goes far past what preference data can support."""
    if f.margin is None or f.margin.middle < 20:
        return None
    return warning(
        "over-optimisation-ahead",
        f"The learning rates sum to {f.budget:.1e}, enough for a margin of {f.margin.middle:.0f} nats; past "
        "20 the answers usually get worse while the loss still falls (arXiv 2406.02900).",
        "Stop on held-out accuracy, or lower optim.lr or train.epochs.",
        numbers=(("margin", f.margin.middle),),
    )


def curve_in_words(f: Forecast) -> str:
    """`you will see a flat curve: the loss goes from 0.693 to 0.691 (0.692 to 0.688)`."""
    assert f.loss is not None
    start, low, middle, high = f.loss
    digits = 3 if start < 10 else 0
    ends = f"from {start:.{digits}f} to {middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
    return f"you will see a flat curve, the loss going {ends}" if f.flat else f"the loss goes {ends}"


def ways_to(f: Forecast, wanted: float) -> str:
    """How to reach a sum of learning rates: by rate and by length."""
    best = f.ladder.lrs[-1]
    per_step = f.budget / f.steps / f.recipe.optim.lr  # mean of the schedule, of its peak
    steps = math.ceil(wanted / (best * per_step))
    pairs = steps * f.recipe.train.batch
    length = f"{steps:,} steps ({pairs:,} pairs at batch {f.recipe.train.batch})"
    return f"{f.ladder}; at lr {best:g} that takes {length}"
