"""Rows on one axis: round ends, places worked by hand, and text for screen readers."""

import math

import pytest

from boresight.reports.drawing.scales import round_step
from boresight.reports.tables.common_scale import draw_on_one_scale
from boresight.stats.intervals import Interval
from boresight.stats.units import unit_named

SHARE = unit_named("share")


def test_places_on_an_axis_with_round_ends():
    """Limits from 2 to 13 % need steps of 5 (11 / 4 = 2.75): the axis goes from 0 to 15 %, 10 % is at 2/3."""
    column = draw_on_one_scale(
        {"a": Interval(0.1, 0.07, 0.13, 400), "b": Interval(0.03, 0.02, 0.06, 400)}, SHARE, "share, %"
    )
    assert column.scale.ticks == [(0.0, "0"), (33.33, "5"), (66.67, "10"), (100.0, "15")]
    (mark,) = column.rows["a"].marks
    assert (mark.at, mark.low, mark.high) == (66.67, 46.67, 86.67)
    assert column.rows["b"].label == "b: 3.0 % [2.0, 6.0]" and column.scale.guide is None


def test_the_axis_reaches_its_guide_and_given_ends():
    at_bar = draw_on_one_scale({"a": Interval(0.1, 0.08, 0.12, 9)}, SHARE, "", guide=0.5)
    assert at_bar.scale.guide == 83.33, "of an axis from 0 to 60 %"
    whole = draw_on_one_scale({"a": Interval(0.4, 0.3, 0.5, 9)}, SHARE, "", guide=0.5, ends=(0.0, 1.0))
    assert [text for _, text in whole.scale.ticks] == [
        "0",
        "25",
        "50",
        "75",
        "100",
    ] and whole.scale.guide == 50


def test_differences_are_signed_and_go_both_ways():
    column = draw_on_one_scale({"a": Interval(-0.04, -0.07, 0.01, 9)}, SHARE, "", guide=0.0, signed=True)
    assert [text for _, text in column.scale.ticks] == ["\u22128", "\u22126", "\u22124", "\u22122", "0", "2"]
    assert column.rows["a"].label == "a: -4.0 points [-7.0, 1.0]" and column.scale.guide == 80.0


def test_limits_that_are_not_finite_end_at_the_edge():
    column = draw_on_one_scale({"a": Interval(1.0, -math.inf, math.inf, 1)}, unit_named("nats"), "")
    (mark,) = column.rows["a"].marks
    assert (mark.low, mark.high) == (0.0, 100.0)
    assert draw_on_one_scale({"a": Interval(math.nan, math.nan, math.nan, 0)}, SHARE, "") is None


def test_a_single_value_has_an_axis():
    column = draw_on_one_scale({"a": Interval(2.0, 2.0, 2.0, 1)}, unit_named("nats"), "")
    assert len(column.scale.ticks) >= 2


@pytest.mark.parametrize(
    ("rough", "step"), [(0.9, 1), (1, 1), (1.1, 2), (2.4, 2.5), (3, 5), (7, 10), (0.03, 0.05)]
)
def test_steps_are_round(rough, step):
    assert round_step(rough) == pytest.approx(step)
