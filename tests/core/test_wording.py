"""Counts agree with their nouns, durations have two units at most."""

from __future__ import annotations

import pytest

from boresight.core.wording import format_duration, format_size, is_or_are, percent, plural


def test_counts_agree_with_their_nouns():
    assert [plural(count, "epoch") for count in (1, 1.0, 1.5, 4.0)] == [
        "1 epoch", "1 epoch", "1.5 epochs", "4 epochs",
    ]  # fmt: skip
    assert [is_or_are(count) for count in (0, 1, 2)] == ["are", "is", "are"]
    assert [plural(count, "pair") for count in (0, 1, 2, 1717)] == [
        "0 pairs",
        "1 pair",
        "2 pairs",
        "1,717 pairs",
    ]
    assert [plural(2, noun) for noun in ("process", "batch", "index")] == [
        "2 processes",
        "2 batches",
        "2 indexes",
    ]


@pytest.mark.parametrize(
    ("gb", "text"),
    [
        (123.4, "123 GB"), (21.1, "21 GB"), (1.44, "1.4 GB"), (0.96, "1.0 GB"), (0.94, "940 MB"),
        (0.022, "22 MB"), (0.00013, "130 kB"), (4.3e-05, "43 kB"), (0.0, "0.0 kB"), (1234.0, "1,234 GB"),
    ],
)  # fmt: skip
def test_sizes_have_a_unit_in_which_they_are_readable(gb, text):
    """The adapters of a tiny model have 43 kB, which was printed as 4.3e-05 GB."""
    assert format_size(gb) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"),
        (59.6, "1 min"), (90, "1 min 30 s"), (365, "6 min 5 s"), (599.6, "10 min"), (1860, "31 min"),
        (3569, "59 min"), (3571, "1 h"), (3660, "1 h 1 min"), (6890, "1 h 55 min"), (86_340, "23 h 59 min"),
        (86_380, "1 d"), (183_600, "2 d 3 h"), (3.2e9, "37,037 d 1 h"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    """6,890 s are 114.8 min; 183,600 s are 51 h."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (0.004, "0.4 %"),
        (0.0994, "9.9 %"),
        (0.0995, "10 %"),
        (0.1, "10 %"),
        (0.125, "12 %"),
        (1, "100 %"),
    ],
)
def test_percent(share, text):
    assert percent(share) == text


def test_a_percentage_with_a_number_of_decimals():
    assert [percent(0.5, 1), percent(0.0004, 1), percent(2 / 3, 2)] == ["50.0 %", "0.0 %", "66.67 %"]
