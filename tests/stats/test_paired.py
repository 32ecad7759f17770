"""Numbers before and after, where some or all of them are missing."""

import math

import pytest

from boresight.stats.paired import (
    mean_of_known,
    paired_metric,
    paired_metrics,
    standard_error_of_known,
)

NAN = math.nan


def test_prompts_with_both_values_are_paired_and_the_others_counted():
    """Differences 1 and 2 over two prompts; of the third, one value is missing."""
    found = paired_metric(
        "reward", "reward", "reward", "higher", {"a": 0, "b": 1, "c": NAN}, {"a": 1, "b": 3, "c": 5}
    )
    assert found.difference.value == pytest.approx(1.5)
    assert (found.difference.n, found.difference.missing) == (2, 1)
    assert (found.before.n, found.before.missing, found.after.n, found.after.missing) == (2, 1, 3, 0)


@pytest.mark.parametrize(("right", "of"), [(24, 24), (0, 5), (13, 16), (2, 3)])
def test_a_difference_from_ties_lies_where_a_share_can(right, of):
    """All pairs are ties before training, which is exact: the difference is the share after, less one half.
    Of 24 out of 24 the lower limit is Clopper and Pearson's, 0.025 ** (1 / 24) = 0.858, less 0.5."""
    after = {f"row-{i}": float(i < right) for i in range(of)}
    found = paired_metric("accuracy", "right", "share", "higher", dict.fromkeys(after, 0.5), after)
    assert found.after is not None and found.difference is not None
    assert found.difference.value == pytest.approx(right / of - 0.5)
    assert found.difference.low == pytest.approx(found.after.low - 0.5)
    assert found.difference.high == pytest.approx(found.after.high - 0.5)
    assert found.difference.low >= -0.5 and found.difference.high <= 0.5
    if right == of == 24:
        assert found.difference.low == pytest.approx(0.025 ** (1 / 24) - 0.5)


def test_a_missing_share_is_counted_beside_it():
    found = paired_metric("accuracy", "accuracy", "share", "higher", {"a": 1, "b": 0, "c": NAN}, {})
    assert (found.before.value, found.before.n, found.before.missing) == (0.5, 2, 1)


def test_a_run_whose_rewards_are_all_missing_still_ends_with_a_report():
    """A reward that can judge nothing leaves no difference; it must not cost the run its evaluation."""
    (found,) = paired_metrics({"reward": {"a": NAN, "b": NAN}}, {"reward": {"a": 1.0, "b": 2.0}})
    assert found.before is None and found.difference is None
    assert found.after.value == pytest.approx(1.5)


def test_margins_have_the_unit_of_their_method_and_other_numbers_their_own():
    rows = {"margin": {"a": 0.0, "b": 1.0}, "accuracy": {"a": 0.0, "b": 1.0}}
    units = {m.name: m.unit for m in paired_metrics(rows, rows, "nats per token")}
    assert units == {"margin": "nats per token", "accuracy": "share"}


def test_standard_errors_leave_out_what_is_missing():
    """2, 4 and 6 have a variance of 4: √(4 / 3)."""
    assert standard_error_of_known([2.0, NAN, 4.0, 6.0]) == pytest.approx(math.sqrt(4 / 3))
    assert math.isnan(standard_error_of_known([2.0, NAN])) and math.isnan(standard_error_of_known([]))


def test_means_leave_out_what_is_missing():
    assert (
        mean_of_known([1.0, NAN, 3.0]) == 2.0
        and math.isnan(mean_of_known([NAN]))
        and math.isnan(mean_of_known([]))
    )
