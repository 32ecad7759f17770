"""Numbers before and after, where some or all of them are missing."""

import math

import pytest

from boresight.stats.intervals import clustered_share, mean_interval
from boresight.stats.paired import (
    SamePrompts,
    duplicate_prompts,
    mean_of_known,
    one_per_prompt,
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


def test_two_rows_of_each_prompt_are_as_much_evidence_as_one():
    """Twenty prompts, each as two rows with the same values: intervals are those of twenty rows."""
    before = {f"r{i}": float(i % 4 == 0) for i in range(20)}
    after = {f"r{i}": float(i % 4 < 2) for i in range(20)}
    copies = [{f"{id}{c}": v for id, v in side.items() for c in "ab"} for side in (before, after)]
    same = duplicate_prompts(list(copies[0]), [id[:-1] for id in copies[0]])
    assert same["r3b"] == "r3a" and "r3a" not in same and len(same) == 20
    once = paired_metric("accuracy", "right", "share", "higher", before, after)
    twice = paired_metric("accuracy", "right", "share", "higher", *copies, same)
    assert (twice.before, twice.after, twice.difference) == (once.before, once.after, once.difference)
    rows = paired_metric("accuracy", "right", "share", "higher", *copies)
    assert rows.difference.n == 40 and rows.difference.low > twice.difference.low


def test_both_labels_of_a_prompt_are_one_unit():
    """KTO's rows of a prompt, one right and one wrong after training, are half right; before, all tie."""
    after = {f"r{i}{label}": float(label == "+") for i in range(6) for label in "+-"}
    same = duplicate_prompts(list(after), [id[:-1] for id in after])
    found = paired_metric("accuracy", "right", "share", "higher", dict.fromkeys(after, 0.5), after, same)
    assert found.after == clustered_share([[1.0, 0.0]] * 6) and found.after.n == 6
    assert found.difference.n == 6 and found.difference.low == found.after.low - 0.5


def test_prompts_with_more_rows_weigh_more_on_all_sides():
    """One prompt of three rows and two of one: before, after and the difference are means over all rows."""
    before = {"a1": 0.0, "a2": 2.0, "a3": 4.0, "b": 1.0, "c": 3.0, "d": NAN}
    after = {"a1": 1.0, "a2": 2.0, "a3": 6.0, "b": 0.0, "c": 6.0, "d": 1.0}
    same = {"a2": "a1", "a3": "a1"}
    found = paired_metric("margin", "margin", "nats", "higher", before, after, same)
    assert (found.before.value, found.before.n, found.before.missing) == (pytest.approx(2.0), 3, 1)
    assert (found.difference.value, found.difference.n, found.difference.missing) == (pytest.approx(1), 3, 1)
    # sizes 3, 1, 1 have the mean 5/3: 1 + 9/5 · 0, 1 + 3/5 · (-1 - 1), 1 + 3/5 · (3 - 1)
    units = mean_interval([1.0, -0.2, 2.2])
    assert (found.difference.low, found.difference.high) == pytest.approx((units.low, units.high))


def test_a_single_prompt_has_no_interval_however_many_rows_it_has():
    values = {"a": 0.2, "b": 0.4}
    found = paired_metric("margin", "margin", "nats", "higher", values, values, {"b": "a"})
    assert (found.before, found.after, found.difference) == (None, None, None)


def test_values_without_a_shared_prompt_are_as_given():
    values = {"a": 0.1, "b": NAN, "c": 0.3}
    assert list(one_per_prompt(values, {"x": "y"}).items())[::2] == [("a", 0.1), ("c", 0.3)]
    merged = one_per_prompt(values, {"b": "a"})
    assert merged == pytest.approx({"a": 0.1, "c": 0.3})
    assert math.isnan(one_per_prompt({"a": NAN, "b": NAN, "c": 1.0}, {"b": "a"})["a"])


def test_which_prompts_are_shared_is_read_back_and_unknown_in_older_files():
    kept = SamePrompts({"r2": "r1"}, {"p2": "p1"})
    assert SamePrompts.read({"same_prompts": kept.as_dict()}) == kept
    assert kept.of("margin") == {"r2": "r1"} and kept.of("reward") == kept.of("complete") == {"p2": "p1"}
    assert SamePrompts.read({"metrics": []}) is None
    assert SamePrompts.read({"same_prompts": {"rows": [1]}}) == SamePrompts()


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
