"""Nearest ranks, by hand."""

from boresight.stats.quantiles import nearest_rank

SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)


def test_quantiles_are_values_that_occur():
    """Of 11 values 0, 10, …, 100 the nearest ranks to 0, 10, 50, 90, 100 % are those values."""
    assert nearest_rank(range(0, 101, 10), SHARES) == [0, 10, 50, 90, 100]
    assert nearest_rank([5], SHARES) == [5] * 5
    assert nearest_rank([30, 10, 20], (0, 0.5, 1)) == [10, 20, 30]
