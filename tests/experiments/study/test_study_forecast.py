"""The forecast of an arm in words: whose runs it is from, and that it is unknown where there are none."""

from __future__ import annotations

from boresight.checks.forecast.forecast import forecast
from boresight.experiments.study.preflight import forecast_in_words, forecast_numbers
from tests.checks import builders as b

ELSEWHERE = {"model": {"name": "nowhere/another-0.5B"}}


def said(*args, **sections):
    return forecast_in_words(forecast_numbers(forecast(b.recipe(*args, **sections), 100, b.QWEN)))


def test_a_forecast_names_the_runs_that_it_is_from():
    own, other = said("dpo"), said("dpo", **ELSEWHERE)
    assert "), by earlier dpo runs of starter on UltraFeedback: expect a flat curve" in own
    assert "), borrowed from dpo runs of BEE-spoke-data/zephyr-220m-dpo-full and starter on" in other
    assert "not measured with your model on your pairs: the loss goes from" in other


def test_what_is_unknown_is_not_called_a_method_without_curves():
    """100 steps at 2e-6 sum to 1e-4, on which the curves of full training stand at 0.17 to 2.3 nats."""
    unknown = said("dpo", data={"train": "nowhere/pairs"})
    assert ": unknown, no run on these pairs has been measured; 0.17 to 2.3 nats on other pairs" in unknown
    assert "nats on demo, which check.like declares your pairs to be like" in said(
        "dpo", "check.like=demo", data={"train": "nowhere/pairs"}
    )
    assert "no calibrated curve for this method" in said("sft")


def test_an_arm_whose_data_are_missing_has_no_forecast():
    assert forecast_in_words({"findings": []}) == "no forecast"


def test_studies_from_before_name_no_runs():
    assert forecast_in_words({"budget": 1e-4, "steps": 1}).startswith("sum of rates 1.0e-04 over 1 step:")
    check = {"budget": 1e-4, "steps": 100, "margin": [0.5, 1.0, 2.0], "flat": False, "curve": "the loss goes"}
    assert forecast_in_words(check).endswith("margin 1 nats (0.5 to 2), the loss goes")
