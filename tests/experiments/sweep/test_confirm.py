"""When a confirmed setting counts as better than the default."""

import math

import pytest

from boresight.experiments.sweep.confirm import Confirmed
from boresight.stats.intervals import SIGNIFICANCE_LEVEL
from boresight.stats.over_seeds import OverSeeds, over_seeds


def measured(*values: float, seeds: int = 2) -> OverSeeds:
    return over_seeds([{str(n): value for n, value in enumerate(values)}] * seeds)


@pytest.mark.parametrize(
    ("p", "better", "significant", "beats"),
    [
        (SIGNIFICANCE_LEVEL, "higher", False, False),
        (math.nextafter(SIGNIFICANCE_LEVEL, 0), "higher", True, True),
        (0.01, "lower", True, False),
        (0.3, "lower", False, False),
    ],
)
def test_a_gain_of_a_quarter_at_a_level_of_five_percent(p, better, significant, beats):
    """Gains of 0.1 to 0.4 have the mean 0.25."""
    found = Confirmed(1, "lr 1e-05", measured(0.5, 0.7), measured(0.1, 0.4), p)
    assert found.gain.mean.value == 0.25
    assert (found.significant, found.beats(better)) == (significant, beats)


def test_one_seed_confirms_nothing():
    """However small p is: the interval is over prompts alone, and compares two models."""
    found = Confirmed(1, "lr 1e-05", measured(0.5, 0.7, seeds=1), measured(0.1, 0.4, seeds=1), 1e-9)
    assert not found.significant and not found.beats("higher")


def test_the_default_is_compared_with_nothing():
    default = Confirmed(None, "default", measured(0.5), p=0.0)
    assert not default.significant and not default.beats("higher")
