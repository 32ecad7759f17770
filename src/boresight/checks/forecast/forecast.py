"""Forecast a run before it starts: its margin, its accuracy and the course of its loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from boresight import methods
from boresight.checks.forecast import calibration
from boresight.checks.forecast.bf16 import share_of_normal
from boresight.checks.forecast.expectation import SMALL_MARGIN, Elsewhere, Expectation
from boresight.checks.forecast.expected_loss import expected_loss
from boresight.checks.forecast.nearest import nearest_published
from boresight.checks.forecast.pair_sources import pair_sources
from boresight.checks.forecast.ramp import Ramp
from boresight.config.recipe import Recipe
from boresight.core.wording import plural
from boresight.findings.finding import Finding, error, note, warning
from boresight.methods.published import LADDERS, Ladder, Published
from boresight.training.forward import INPUT_KINDS
from boresight.training.optimizer.learning_rate import learning_rate_sum

GOOD_MARGIN = 3.0
"""Margin on held-out pairs, in nats, at which runs up to 1B parameters have gained most of their accuracy."""

NEARLY = 0.8
"""Share of the largest harmless sum of learning rates (by a ramp) above which a run is not reported as too
short."""

PROBE = "`boresight check RECIPE --probe` measures your own"

Ends = tuple[float, float, float, float]
"""Loss at the start, and at the low, the middle and the high end of the expected margin."""


@dataclass(frozen=True)
class Forecast:
    """The forecast of a run.

    `budget` is the run's sum of learning rates, and `margin` the margin on held-out pairs that is expected
    from it, in nats. `margin` and `loss` are None if no curve applies: for pairs on which no run was
    measured, methods whose loss is not determined by the margin (`expected_loss`), sampled answers, and very
    small models. `elsewhere` is then the range of margins that the budget yielded on other pairs, which is
    not a forecast: on all measured pairs, or on those that `check.like` names.
    """

    recipe: Recipe
    steps: int
    budget: float
    parameters: int | None
    margin: Expectation | None
    elsewhere: Elsewhere | None
    loss: Ends | None
    wanted: float | None
    """Sum of learning rates that yields a margin of `GOOD_MARGIN` on these pairs, or on the other pairs if no
    run was measured on these."""
    movable: float
    ladder: Ladder
    published: list[Published]
    ramp: Ramp | None = None

    @property
    def flat(self) -> bool:
        """Whether the loss is expected to change by less than a twentieth, so that its curve looks flat."""
        return self.loss is not None and abs(self.loss[0] - self.loss[2]) < 0.05 * abs(self.loss[0])


def forecast(
    recipe: Recipe,
    steps: int,
    parameters: int | None,
    pairs: Collection[str] | None = None,
    ramp: Ramp | None = None,
) -> Forecast:
    """Forecast a run.

    Args:
        steps: number of optimizer steps.
        parameters: number of parameters of the model; None where unknown.
        pairs: sources of the pairs (`pair_sources`); None takes those of `data.train`.
        ramp: learning-rate ramp with the recipe's model and pairs; if given, curves of other runs are not
            used.

    Raises:
        UserError: no run was measured on the data that `check.like` names.
    """
    lora = recipe.model.lora is not None
    budget = learning_rate_sum(steps, recipe.optim)
    chosen = methods.get(recipe.method_name)
    kind = INPUT_KINDS[chosen.Input]
    # The curves were measured on pairs that are given, not sampled.
    curve = partial(expected_loss, chosen, recipe.method.at(0.0)) if not kind.online else None
    same = others = margin = wanted = None
    if curve and curve(0.0) is not None and ramp is not None:
        margin, wanted = ramp.expect(budget), _useful_sum(ramp)
    elif curve and curve(0.0) is not None:
        pairs = pair_sources(recipe.data.train, recipe.data.columns) if pairs is None else pairs
        trained = (recipe.model.name, pairs)
        same = calibration.choose(parameters, lora, trained=trained, method=recipe.method_name)
        like = calibration.choose(parameters, lora, like=recipe.check.like)
        others = like if same is None else None
    if same is not None:
        margin = same.expect(budget)
    if (family := same or others) is not None:
        wanted = family.budget(GOOD_MARGIN)
    return Forecast(
        recipe=recipe,
        steps=steps,
        budget=budget,
        parameters=parameters,
        margin=margin,
        elsewhere=others.elsewhere(budget, recipe.check.like) if others else None,
        loss=_ends(curve, margin) if curve and margin else None,
        wanted=wanted,
        movable=share_of_normal(recipe.optim.peak),
        ladder=LADDERS[kind.data, lora],
        published=nearest_published(recipe.method_name, parameters),
        ramp=ramp,
    )


def _useful_sum(ramp: Ramp) -> float | None:
    """Return the sum of learning rates that yields a margin of `GOOD_MARGIN` by the ramp.

    If that sum is beyond the harmless part of the ramp, or no sum reaches the margin, return the largest
    harmless sum. None if no gain of the ramp is significant.
    """
    if not ramp.curve:
        return None
    harmless = ramp.limit
    good = ramp.budget(GOOD_MARGIN)
    return harmless.budget if good is None or (harmless.why and good > harmless.budget) else good


def _ends(curve: Callable[[float], float | None], margin: Expectation) -> Ends | None:
    """Return the loss at the start and at the low, middle and high margin; None if one is not determined."""
    start, low, middle, high = map(curve, (0.0, margin.low, margin.middle, margin.high))
    if start is None or low is None or middle is None or high is None:
        return None
    return start, low, middle, high


# Findings -----------------------------------------------------------------------------------------------


def learning_rate_too_high(f: Forecast) -> Finding | None:
    """Return the finding `learning-rate-too-high` if runs of this kind degenerate at the rate, else None.

    The limit is half of `Ladder.too_high`. There is no finding if a ramp found this rate and budget harmless.
    """
    if f.parameters is None or f.parameters < calibration.SMALLEST_MODEL:
        return None
    lr, limit = f.recipe.optim.peak, f.ladder.too_high
    if lr < limit / 2 or (f.ramp is not None and f.ramp.found_harmless(lr, f.budget)):
        return None
    say = error if lr >= limit else warning
    return say(
        "learning-rate-too-high",
        f"The learning rate {lr:g} is {lr / f.ladder.lrs[-1]:.0f} times the highest usual one "
        f"({f.ladder.lrs[-1]:g}, borrowed from {f.ladder.source} and not measured on your model): expect "
        "repetition and broken sentences.",
        f"Try {f.ladder}.",
        numbers=(("lr", lr),),
    )


def learning_rate_budget(f: Forecast) -> Finding | None:
    """Return the finding `learning-rate-budget` if the sum of learning rates is too small, else None.

    If only runs on other pairs were measured, the finding is a note; it is a warning if the sum stays too
    small when such numbers are wrong by the largest factor so far.
    """
    if f.wanted is None:
        return None
    sum_of_rates = f"The learning rates sum to {f.budget:.1e} over {plural(f.steps, 'step')}"
    times = f"{f.wanted / f.budget:,.0f} times as much: {ways_to(f, f.wanted)}"
    if f.ramp is not None and f.budget > NEARLY * f.ramp.limit.budget:
        return None  # the ramp found no larger sum harmless
    if (m := f.margin) is not None and f.loss is not None and m.middle < SMALL_MARGIN:
        surely = m.high if m.borrowed else m.middle
        say = error if surely < 0.5 and f.steps >= 20 else warning
        accuracy = f" and accuracy about {m.accuracy:.2f}" if m.accuracy else ""
        return say(
            "learning-rate-budget",
            f"{sum_of_rates}, which yields a margin of about {m.middle:.2g} nats ({m.low:.2g} to "
            f"{m.high:.2g}){accuracy}, {m.basis}: {curve_in_words(f)}.",
            f"Reach a sum of {f.wanted:.1e}, {_up_to(f)}{times}{'; ' + PROBE if m.borrowed else ''}.",
            numbers=(("budget", f.budget), ("margin", m.middle), ("wanted", f.wanted)),
        )
    if (e := f.elsewhere) is not None and e.fastest < SMALL_MARGIN:
        surely = e.ends[1] < SMALL_MARGIN
        say = warning if surely else note
        even = f": even {e.missed:g} times that is below {SMALL_MARGIN:g} nat" if surely else ""
        return say(
            "learning-rate-budget",
            f"{sum_of_rates}; on {e.pairs} this sum yielded a margin of at most {e.at_most} (borrowed from "
            f"{e.source}). On yours nothing was measured{even}.",
            f"{PROBE}. On those pairs a good margin took a sum of {f.wanted:.1e}, {times}.",
            numbers=(("budget", f.budget), ("wanted", f.wanted)),
        )
    return None


def _up_to(f: Forecast) -> str:
    """Return text that names the wanted sum as the largest useful one of the ramp, else ''.

    The sum is that one if the ramp does not reach a good margin within its harmless part.
    """
    if f.ramp is None or f.wanted != f.ramp.limit.budget:
        return ""
    gain = f.ramp.expect(f.wanted)
    return f"the largest useful one of the ramp ({gain.middle:.2g} nats), " if gain else ""


def over_optimization_ahead(f: Forecast) -> Finding | None:
    """Return the finding `over-optimization-ahead` if the expected margin is at least 20 nats, else None.

    At such margins answers usually get worse while the loss still falls.
    """
    if f.margin is None or f.margin.middle < 20:
        return None
    return warning(
        "over-optimization-ahead",
        f"The learning rates sum to {f.budget:.1e}, enough for a margin of {f.margin.middle:.0f} nats, "
        f"{f.margin.basis}; beyond 20 nats answers usually get worse while the loss still falls (arXiv "
        "2406.02900).",
        "Stop on held-out accuracy, or lower optim.lr or train.epochs.",
        numbers=(("margin", f.margin.middle),),
    )


def harm_ahead(f: Forecast) -> Finding | None:
    """Return the finding `harm-ahead` if the run's budget is not harmless by the ramp, else None.

    The budget is the sum of learning rates.
    """
    limit = f.ramp.limit if f.ramp else None
    if limit is None or limit.why is None or f.budget <= limit.budget:
        return None
    return warning(
        "harm-ahead",
        f"The learning rates sum to {f.budget:.1e}; in the ramp {limit.why} at {limit.budget:.1e}, which is "
        f"{f.budget / limit.budget:.2g} times less: answers may get worse while the margin grows.",
        f"Spend at most {limit.budget:.1e}: lower optim.lr or train fewer steps.",
        numbers=(("budget", f.budget), ("limit", limit.budget)),
    )


def no_gain_in_ramp(f: Forecast) -> Finding | None:
    """Return the finding `no-gain-in-ramp` if no gain of the ramp is significant at any rate, else None."""
    if f.ramp is None or f.ramp.curve:
        return None
    last = f.ramp.points[-1]
    return warning(
        "no-gain-in-ramp",
        f"At no rate of the ramp did {last.gain.n} pairs that it does not train on gain more than the noise; "
        f"at its end, a sum of {last.budget:.1e}, it is {last.gain.mean:.2g} "
        f"±{last.gain.half_width:.2g} nats.",
        "Look at a few pairs: the labels may follow no rule that generalizes. With few rows, measure more.",
        numbers=(("gain", last.gain.mean),),
    )


def answers_of_another_model(f: Forecast) -> Finding | None:
    """Return the finding `answers-of-another-model` if the answers are unlikely, else None.

    The pairs' answers are compared with the start model's own samples, under the start model.
    """
    answers = f.ramp.answers if f.ramp else None
    if f.ramp is None or answers is None or not answers.foreign:
        return None
    side, below = answers.foreign[0], getattr(answers, f"{answers.foreign[0]}_below")
    return warning(
        "answers-of-another-model",
        f"Under the start model the {' and '.join(answers.foreign)} answers are less likely than its own: by "
        f"{below.mean:.2g} nats per token ({below.mean - below.half_width:.2g} to "
        f"{below.mean + below.half_width:.2g}, {side}, n = {below.n}). {_moved(f.ramp)}",
        f"Make pairs of the model's own answers: `boresight synthesize synth-onpolicy "
        f"endpoints.policy.model={f.recipe.model.name}`; or watch the chosen answers' likelihood and stop "
        "early.",
        numbers=(("below", below.mean),),
    )


def _moved(ramp: Ramp) -> str:
    """Return a sentence with the changes in log-probability of both sides at the end of the ramp."""
    last = ramp.points[-1]
    if last.chosen_per_token is None or last.rejected_per_token is None:
        return ""
    chosen, rejected = last.chosen_per_token.mean, last.rejected_per_token.mean
    return (
        f"In the ramp the chosen answers moved by {chosen:+.2g} and the rejected by {rejected:+.2g} nats per "
        f"token, at a sum of {last.budget:.1e}."
    )


def curve_in_words(f: Forecast) -> str:
    """The expected course of the loss as text, such as `expect a flat curve, the loss going from 0.693 to
    0.691 (0.692 to 0.688)`."""
    assert f.loss is not None
    start, low, middle, high = f.loss
    digits = 3 if start < 10 else 0
    ends = f"from {start:.{digits}f} to {middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
    return f"expect a flat curve, the loss going {ends}" if f.flat else f"the loss goes {ends}"


def ways_to(f: Forecast, wanted: float) -> str:
    """Settings that reach the sum of learning rates `wanted`, as text: another rate, or another length."""
    best = f.ladder.lrs[-1]
    per_step = f.budget / f.steps / f.recipe.optim.peak  # mean rate of the schedule as a share of its peak
    steps = math.ceil(wanted / (best * per_step))
    pairs = steps * f.recipe.train.batch
    length = f"{plural(steps, 'step')} ({plural(pairs, 'pair')} at batch {f.recipe.train.batch})"
    return f"{f.ladder} ({f.ladder.source}); at lr {best:g} that takes {length}"
