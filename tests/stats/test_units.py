"""Numbers and intervals in a unit."""

import math

import pytest

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
