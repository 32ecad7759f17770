"""What is read off a learning-rate ramp, on points made by hand."""

from __future__ import annotations

import json
import math

import pytest

from boresight.checks.forecast.answer_distance import AnswerDistance
from boresight.checks.forecast.forecast import (
    answers_of_another_model,
    forecast,
    harm_ahead,
    learning_rate_budget,
    no_gain_in_ramp,
)
from boresight.checks.forecast.ramp import BEYOND, NORMAL, WITHIN, Ramp, RampPoint
from boresight.checks.forecast.row_mean import RowMean
from boresight.checks.forecast.suggestion import suggest
from boresight.config.dotted import apply_override
from boresight.config.recipe import Recipe
from boresight.training.optimizer.learning_rate import learning_rate_sum

NONE = RowMean(0.0, 0.0, 50)


def point(
    budget: float, gain: float, *, error: float = 0.0, chosen: float = 0.0, kl: float = 0.0
) -> RampPoint:
    return RampPoint(
        rate=budget,
        budget=budget,
        gain=RowMean(gain, error, 50),
        loss=0.6,
        accuracy=RowMean(0.7, 0.05, 50),
        chosen_per_token=RowMean(chosen, 0.0, 50),
        rejected_per_token=RowMean(-0.2, 0.0, 50),
        kl_per_token=RowMean(kl, 0.0, 16),
        grad_norm=1.0,
        seconds=2.0,
        peak_memory_gb=3.0,
    )


def ramp(*points: RampPoint) -> Ramp:
    return Ramp(point(0.0, 0.0), points, batch=8)


def recipe(*settings: str, method: str = "dpo") -> Recipe:
    raw = {"method": {"name": method}, "data": {"train": "none"}, "optim": {"lr": 1e-4, "warmup": 0.0}}
    for setting in settings:
        apply_override(raw, setting)
    return Recipe.parse(raw)


def test_a_mean_of_rows_by_hand():
    """Of 1, 2 and 3 the standard deviation is 1, so the error is 1/√3; t(2) at 97.5 % is 4.303."""
    mean = RowMean.of([1.0, math.nan, 2.0, 3.0])
    assert (mean.mean, mean.n) == (2.0, 3)
    assert mean.error == pytest.approx(1 / math.sqrt(3))
    assert mean.half_width == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert math.isnan(RowMean.of([1.0]).half_width) and math.isnan(RowMean.of([]).mean)


def test_between_points_gains_are_interpolated_in_logarithms():
    """From 0.1 at 1e-4 to 1.0 at 1e-3: half way in logarithms, at 10^-3.5, it is 10^-0.5."""
    measured = ramp(point(1e-4, 0.1), point(1e-3, 1.0))
    assert measured.expect(10**-3.5).middle == pytest.approx(10**-0.5)
    assert measured.expect(1e-5).middle == pytest.approx(0.01)  # below the curve in proportion
    assert measured.budget(0.5) == pytest.approx(5e-4, rel=2e-3)


def test_beyond_the_ramp_the_slope_goes_on_within_bounds_and_the_range_opens():
    """The slope of the whole curve is log(4)/log(10) = 0.602; ten times beyond, 2 becomes 2 · 10^0.602."""
    measured = ramp(point(1e-4, 0.5), point(1e-3, 2.0))
    far = measured.expect(1e-2)
    assert far.middle == pytest.approx(2 * 4.0)
    spread = WITHIN * 10**BEYOND
    assert (far.low, far.high) == (pytest.approx(far.middle / spread), pytest.approx(far.middle * spread))
    assert "extrapolated 10 times" in far.source and "extrapolated" not in measured.expect(1e-3).source
    steep, flat = ramp(point(1e-4, 0.01), point(1e-3, 1.0)), ramp(point(1e-4, 1.0), point(1e-3, 1.0))
    assert steep.expect(1e-2).middle == pytest.approx(10.0)
    assert flat.expect(1e-2).middle == pytest.approx(10**0.25)


def test_a_gain_that_levels_off_is_not_continued_to_any_sum():
    """0.31 nats from 1e-4 on; the slope of the whole curve is log(3.1)/log(25) = 0.351, so that ten times
    beyond they are 0.31 · 10^0.351 = 0.70, and 3 nats would be 640 times beyond."""
    flat = ramp(point(1e-5, 0.1), point(1e-4, 0.31), point(2.5e-4, 0.31))
    assert flat.expect(2.5e-3).middle == pytest.approx(0.696, abs=1e-3)
    assert flat.budget(3.0) is None and flat.budget(0.2) == pytest.approx(4.1e-5, rel=0.01)
    found = learning_rate_budget(forecast(recipe("optim.lr=2e-7"), 100, 135_000_000, pairs=[], ramp=flat))
    assert found.fix.startswith("Reach a sum of 2.5e-04, the largest useful one of the ramp (0.31 nats), 25 ")


def test_no_sum_beyond_a_crossed_bound_is_advised():
    """The KL crosses 0.05 nats per token half way, in logarithms, between 1e-4 and 4e-4: at 2e-4."""
    harmful = ramp(point(1e-4, 0.3), point(4e-4, 1.2, kl=0.1))
    made = forecast(recipe("optim.lr=2e-7"), 100, 135_000_000, pairs=[], ramp=harmful)
    assert harmful.budget(3.0) == pytest.approx(1e-3, rel=0.01) and made.wanted == pytest.approx(
        2e-4, rel=0.01
    )


def test_the_range_holds_the_noise_of_the_ramp():
    """An error of a tenth is ±0.196 in the logarithm; its hypotenuse with log 1.35 = 0.300 is 0.358."""
    found = ramp(point(1e-4, 0.1, error=0.01), point(1e-3, 1.0, error=0.1)).expect(1e-3)
    spread = math.exp(math.hypot(NORMAL * 0.1, math.log(WITHIN)))
    assert (found.low, found.high) == (pytest.approx(1 / spread), pytest.approx(spread))
    assert spread == pytest.approx(1.431, abs=0.001)


def test_gains_within_their_noise_make_no_forecast():
    """0.19 ± 0.1 is below 1.96 errors; 0.2 is not, and its range is at most e^√(1 + 0.3²) wide either way."""
    noise = ramp(point(1e-4, 0.1, error=0.1), point(1e-3, 0.19, error=0.1))
    assert noise.expect(1e-3) is None and noise.budget(1.0) is None
    found = forecast(recipe(), 100, 135_000_000, pairs=[], ramp=noise)
    assert found.margin is None and no_gain_in_ramp(found).severity == "warning"
    assert "50 pairs that it does not train on" in no_gain_in_ramp(found).why
    seen = ramp(point(1e-4, 0.1, error=0.1), point(1e-3, 0.2, error=0.1))
    assert seen.expect(1e-3).middle == pytest.approx(0.2) and seen.expect(1e-3).high < 0.2 * 2.85
    assert no_gain_in_ramp(forecast(recipe(), 100, 135_000_000, pairs=[], ramp=seen)) is None


def test_gains_that_fall_are_pooled_and_losses_are_left_out():
    """1.0 and 0.6 with equal errors pool to 0.8; a negative gain has no logarithm."""
    measured = ramp(point(1e-5, -0.1, error=0.1), point(1e-4, 1.0, error=0.1), point(1e-3, 0.6, error=0.1))
    assert [(p.budget, pytest.approx(p.gain)) for p in measured.curve] == [(1e-4, 0.8), (1e-3, 0.8)]
    assert ramp(point(1e-4, -0.1), point(1e-3, -0.2)).expect(1e-3) is None


def test_the_limit_is_where_a_band_is_crossed():
    """KL goes from 0.03 at 1e-3 to 0.11 at 2e-3: 0.05 is a quarter of the way, 1e-3 · 2^0.25."""
    kl = ramp(point(1e-3, 1.0, kl=0.03), point(2e-3, 2.0, kl=0.11)).limit
    assert kl.budget == pytest.approx(1e-3 * 2**0.25) and kl.why == "KL reaches 0.05 nats per token"
    fall = ramp(point(1e-3, 1.0, chosen=0.02), point(2e-3, 2.0, chosen=-0.12)).limit
    assert fall.budget == pytest.approx(1e-3 * 2**0.5)
    assert fall.why == "chosen answers lose 0.05 nats per token"
    both = ramp(point(1e-3, 1.0), point(2e-3, 2.0, kl=0.5, chosen=-0.1)).limit
    assert both.why.startswith("KL") and both.budget == pytest.approx(1e-3 * 2**0.1)
    first = ramp(point(1e-3, 1.0, kl=0.5)).limit  # crossed at once: the first half of the first step
    assert first.budget == pytest.approx(5e-4 * 2**0.1)
    none = ramp(point(1e-3, 1.0), point(2e-3, 2.0)).limit
    assert (none.budget, none.why) == (2e-3, None)


def test_a_forecast_from_a_ramp_asks_no_other_run():
    measured = ramp(point(1e-4, 0.1), point(1e-2, 2.0, kl=0.04), point(2e-2, 3.0, kl=0.5))
    found = forecast(recipe(), 100, 135_000_000, pairs=[], ramp=measured)
    assert found.budget == pytest.approx(5.05e-3)
    assert found.margin == measured.expect(found.budget) and found.elsewhere is None
    assert found.loss is not None and harm_ahead(found) is None
    ahead = harm_ahead(forecast(recipe("optim.lr=1e-3"), 100, 135_000_000, pairs=[], ramp=measured))
    assert (
        ahead.severity == "warning" and "in the ramp KL reaches 0.05 nats per token at 1.0e-02" in ahead.why
    )
    assert harm_ahead(forecast(recipe("optim.lr=1e-3"), 100, 135_000_000, pairs=[])) is None


@pytest.mark.parametrize(
    ("steps", "settings", "budget", "expected"),
    [
        (100, [], 2.525e-4, ["optim.lr=5e-06"]),
        (100, [], 3.03e-4, ["optim.lr=6e-06"]),
        (100, [], 2.02e-3, ["optim.lr=1e-05", "train.epochs=4"]),  # twice the highest published rate
        (100, ["train.steps=100"], 2.02e-3, ["optim.lr=1e-05", "train.steps=400"]),
        (1000, [], 5.005e-5, ["optim.lr=5e-07", "train.epochs=0.2"]),  # half of the lowest one
        (10, [], 5.5e-7, ["optim.lr=1e-07"]),  # too short to be shortened
    ],
)
def test_a_sum_of_rates_becomes_settings(steps, settings, budget, expected):
    """100 cosine steps without warm-up sum to 50.5 times their rate; published rates are 1e-6 to 5e-6."""
    chosen = suggest(recipe(*settings), steps, budget)
    assert chosen.settings == expected
    rates = recipe(f"optim.lr={chosen.lr}")
    length = float(expected[1].partition("=")[2]) if len(expected) > 1 else None
    taken = steps if length is None else length if "steps" in expected[1] else length * steps
    assert learning_rate_sum(round(taken), rates.optim) <= budget * 1.05


def test_epochs_make_up_for_a_short_last_batch():
    """240 rows in batches of 32 are 7.5, so 8 steps, which sum to 4.5 times their rate; 26 steps at 1e-5 sum
    to 1.485e-4 as 8 of 3.3e-5 do. 26 · 32 / 240 are 3.47 epochs, where 26 / 8 are 3.25, or 24 steps.
    """
    assert suggest(recipe(), 8, 1.485e-4, 240).settings == ["optim.lr=1e-05", "train.epochs=3.5"]


def test_answers_far_below_the_model_s_own_samples_are_another_model_s():
    """Own samples at -0.8; the chosen lie 0.9, 1.0 and 1.1 below, 1.0 ± 4.303 · 0.1/√3, the rejected 0.1."""
    own = {"a": -0.8, "b": -0.8, "c": -0.8}
    chosen, rejected = {"a": -1.7, "b": -1.8, "c": -1.9}, {"a": -0.9, "b": -0.9, "c": -0.9}
    found = AnswerDistance.of(own, chosen, {**rejected, "unasked": -9.0})
    assert found.chosen_below.mean == pytest.approx(1.0) and found.rejected.mean == pytest.approx(-0.9)
    assert found.chosen_below.half_width == pytest.approx(0.248, abs=0.001)
    assert found.foreign == ("chosen",)
    measured = Ramp(point(0, 0), (point(1e-3, 1.0, chosen=-0.1),), batch=8, answers=found)
    said = answers_of_another_model(forecast(recipe(), 100, 135_000_000, pairs=[], ramp=measured)).why
    assert (
        "the chosen answers are less likely than its own: by 1 nats per token (0.75 to 1.2, chosen, n = 3)"
        in said
    )
    assert (
        "the chosen answers moved by -0.1 and the rejected by -0.2 nats per token, at a sum of 1.0e-03"
        in said
    )
    alike = AnswerDistance.of(own, rejected, rejected)
    assert alike.foreign == ()
    unsure = AnswerDistance.of({"a": -0.8, "b": -0.8}, {"a": -0.9, "b": -3.0}, rejected)
    assert unsure.foreign == ()  # 1.15 on average, and anything from two rows
    assert Ramp.from_dict(json.loads(json.dumps(measured.as_dict()))) == measured
