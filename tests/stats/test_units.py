"""Numbers and intervals in a unit."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boresight.stats.intervals import Interval
from boresight.stats.units import Unit, format_number, rounded_up, unit_named


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0, "0.0"),
        (1, "1.0"),
        (12.34, "12.3"),
        (999.9, "999.9"),
        (1000, "1,000"),
        (1234.5, "1,234"),
        (0.01234, "0.012"),
        (6e-7, "0.000001"),
        (-4e-17, "0.0"),
        (-0.5, "-0.50"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
        (math.nan, "?"),
    ],
)
def test_numbers(x, text):
    assert format_number(x) == text


def test_shares_are_in_percent_and_their_differences_in_points():
    share, nats = unit_named("share"), unit_named("nats")
    assert share.estimate(Interval(0.625, 0.4, 0.8, 40)) == "62.5 % [40.0, 80.0]"
    assert share.change(Interval(-0.041, -0.072, 0.01, 800)) == "-4.1 points [-7.2, 1.0]"
    assert share.lead(Interval(0.01, -0.01, 0.03, 800)) == "1.0 point [-1.0, 3.0]"
    assert nats.estimate(Interval(1.5, 1, 2, 9)) == "1.5 nats [1.0, 2.0]"
    assert nats.change(Interval(0.5, 0.25, 0.75, 9)) == "+0.50 nats [0.25, 0.75]"
    assert [nats.signed(x) for x in (0.0, 0.5, -0.5)] == ["0.0 nats", "+0.50 nats", "-0.50 nats"]
    assert (unit_named("points").value(4.1), Unit().value(4.1)) == ("4.1", "4.1")


def test_limits_never_read_as_the_estimate():
    """Half a width of 0.03 points shows with two decimals, and all three numbers get the second."""
    share, nats = unit_named("share"), unit_named("nats")
    assert share.estimate(Interval(0.1234, 0.1231, 0.1237, 9)) == "12.34 % [12.31, 12.37]"
    assert share.change(Interval(-0.1234, -0.1237, -0.1231, 9)) == "-12.34 points [-12.37, -12.31]"
    assert share.lead(Interval(0.1234, 0.1231, 0.1237, 9)) == "12.34 points [12.31, 12.37]"
    assert nats.estimate(Interval(1.5, 1.4996, 1.5004, 9)) == "1.5000 nats [1.4996, 1.5004]"
    assert nats.estimate(Interval(1234.5, 1234.1, 1240, 9)) == "1,234.5 nats [1,234.1, 1,240.0]"


def test_limits_at_the_estimate_or_without_an_end_need_no_digits():
    share = unit_named("share")
    assert share.estimate(Interval(1.0, 0.9, 1.0, 9)) == "100.0 % [90.0, 100.0]"
    assert share.estimate(Interval(0.5, 0.5, 0.5, 9)) == "50.0 % [50.0, 50.0]"
    assert share.estimate(Interval(0.5, 0.5 - 1e-12, 0.5 + 1e-12, 9)) == "50.0 % [50.0, 50.0]"
    assert share.estimate(Interval(0.5, -math.inf, math.inf, 1)) == "50.0 % [-∞, ∞]"


@settings(deadline=None)
@given(
    st.floats(-1e4, 1e4),
    st.floats(1e-4, 10),
    st.floats(1e-4, 10),
    st.sampled_from(["share", "nats", "reward", "points"]),
)
def test_a_limit_that_differs_by_a_ten_thousandth_differs_in_print(value, below, above, name):
    unit = unit_named(name)
    interval = Interval(value, value - below, value + above, 9)
    more = unit.more_decimals(interval)
    low, middle, high = (unit.number(x, more) for x in (interval.low, interval.value, interval.high))
    assert middle not in (low, high)


def test_rewards_have_two_decimals_and_no_suffix():
    """The metric's label says reward already: "reward rose from 0.00 to 0.14"."""
    reward = unit_named("reward")
    assert [reward.value(x) for x in (0.0, 0.14, 1.5, -2.0, 0.034, 12.34)] == [
        "0.00", "0.14", "1.50", "-2.00", "0.034", "12.3",
    ]  # fmt: skip
    assert reward.change(Interval(0.14, 0.1, 1, 9)) == "+0.14 [0.10, 1.00]"
    assert reward.lead(Interval(1.25, 0, 2.5, 9)) == "1.25 [0.00, 2.50]"


def test_estimates_of_n_have_two_digits_and_are_never_too_low():
    assert [rounded_up(n) for n in (7, 99, 101, 4021, 40_000)] == [7, 99, 110, 4100, 40_000]
