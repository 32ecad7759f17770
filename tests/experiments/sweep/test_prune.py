"""Pruning rules on curves written by hand: training rows to held-out value."""

import json

import pytest

from boresight.experiments.sweep.prune import read_curve, reason_to_prune, value_at
from boresight.experiments.sweep.recipe import PruneSection

MEDIAN = PruneSection(rule="median", after=2, trials=3)
HALVING = PruneSection(rule="halving", after=1, trials=3)
OTHERS = [{10: 0.5, 20: 0.6}, {10: 0.6, 20: 0.7}, {10: 0.4, 20: 0.8}]


def test_the_median_rule_compares_the_best_so_far_with_the_median():
    """At 20 rows the others have 0.6, 0.7 and 0.8; the median is 0.7."""
    why = reason_to_prune({10: 0.65, 20: 0.6}, OTHERS, MEDIAN, "higher")
    assert why == "its best after 20 rows, 0.65, is worse than the median, 0.7."
    assert reason_to_prune({10: 0.75, 20: 0.6}, OTHERS, MEDIAN, "higher") is None
    assert reason_to_prune({10: 0.75, 20: 0.72}, OTHERS, MEDIAN, "lower") is not None
    assert reason_to_prune({10: 0.65, 20: 0.72}, OTHERS, MEDIAN, "lower") is None


def test_a_tie_with_the_median_goes_on_and_reasons_name_values_as_they_are():
    assert reason_to_prune({10: 0.7, 20: 0.6}, OTHERS, MEDIAN, "higher") is None
    why = reason_to_prune({10: 0.75, 20: 0.72}, OTHERS, MEDIAN, "lower")
    assert why == "its best after 20 rows, 0.72, is worse than the median, 0.7."


def test_nobody_is_judged_too_early_or_by_too_few():
    assert reason_to_prune({10: 0.0}, OTHERS, MEDIAN, "higher") is None  # one evaluation, two are given
    assert reason_to_prune({10: 0.0, 20: 0.0}, OTHERS[:2], MEDIAN, "higher") is None
    assert reason_to_prune({20: 0.0, 30: 0.0}, OTHERS, MEDIAN, "higher") is None  # nobody has come to 30 rows


def test_halving_keeps_the_better_half_at_powers_of_two():
    """Of 0.4, 0.5 and 0.6 at 10 rows the better half is 0.6 and 0.5."""
    assert reason_to_prune({10: 0.5}, OTHERS, HALVING, "higher") is None
    assert "the better half has 0.5 or better" in reason_to_prune({10: 0.45}, OTHERS, HALVING, "higher")
    far = [{10: 1.0, 20: 1.0, 30: 1.0}] * 3
    assert (
        reason_to_prune({10: 0.0, 20: 0.0, 30: 0.0}, far, HALVING, "higher") is None
    )  # the third evaluation
    assert reason_to_prune({10: 0.0, 20: 0.0}, far, HALVING, "higher") is not None


def test_of_an_even_number_the_better_half_is_half():
    """Of 0.4, 0.5, 0.6 and 0.7 the better half is 0.7 and 0.6, so the bar is 0.6; of 0.4 to 0.8, 0.6 too."""
    four = [{10: value} for value in (0.4, 0.5, 0.6, 0.7)]
    assert reason_to_prune({10: 0.6}, four, HALVING, "higher") is None
    why = "after 10 rows it has 0.55; the better half has 0.6 or better."
    assert reason_to_prune({10: 0.55}, four, HALVING, "higher") == why
    assert reason_to_prune({10: 0.55}, [*four, {10: 0.8}], HALVING, "higher") == why
    assert reason_to_prune({10: 0.5}, four, HALVING, "lower") is None
    assert reason_to_prune({10: 0.55}, four, HALVING, "lower") is not None


def test_curves_of_other_batch_sizes_are_read_at_the_same_number_of_rows():
    assert [value_at({16: 1.0, 32: 2.0}, rows) for rows in (8, 16, 24, 40)] == [1.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize("torn", ["", '{"step": 3, "spl'])
def test_a_curve_is_read_off_the_metrics_without_the_start(tmp_path, torn):
    lines = [
        {"step": 0, "split": "eval", "margin": 0.0},
        {"step": 1, "split": "train", "margin": 9.0},
        {"step": 1, "split": "eval", "margin": 1.0},
        {"step": 2, "split": "eval", "margin": None},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    assert read_curve(tmp_path, "margin", batch=8) == {8: 1.0}
    assert read_curve(tmp_path / "nowhere", "margin", 8) == {}
