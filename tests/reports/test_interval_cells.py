"""Intervals in the cells of tables."""

from boresight.reports.tables.intervals import interval_cell, interval_text, missing_counts
from boresight.stats.intervals import Interval
from boresight.stats.units import unit_named

SHARE = unit_named("share")
MET = Interval(0.625, 0.4, 0.8, 1200, missing=3)


def test_a_cell_has_sign_and_counts_where_they_are_wanted():
    assert interval_text(interval_cell(MET, SHARE)) == "62.5 % [40.0, 80.0]"
    assert interval_text(interval_cell(MET, SHARE, n=True)) == "62.5 % [40.0, 80.0], n = 1,200"
    assert (
        interval_text(interval_cell(MET, SHARE, n=True, missing=True))
        == "62.5 % [40.0, 80.0], n = 1,200, 3 missing"
    )
    assert interval_text(interval_cell(MET, SHARE, signed=True)) == "+62.5 points [40.0, 80.0]"
    assert interval_text(interval_cell(None, SHARE)) == "–"


def test_missing_prompts_are_named_where_there_are_any():
    assert missing_counts(MET) == "1,200 (3 missing)"
    assert missing_counts(Interval(0.5, 0.4, 0.6, 12)) == "12"
