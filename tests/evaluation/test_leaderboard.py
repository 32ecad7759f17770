"""Totals alone: the study's table, by hand and as published analyses of it have it."""

import math
from pathlib import Path

import numpy as np
import pytest

from boresight.core.errors import UserError
from boresight.evaluation.leaderboard import Entry, against_bar, pairs, read_leaderboard
from boresight.reports.leaderboard import leaders, reaching, write_leaderboard
from boresight.stats.intervals import clopper_pearson, unpaired_difference

STUDY = Path(__file__).parents[2] / "recipes" / "study" / "leaderboard.csv"


def test_difference_by_hand():
    """39 against 20 of 400: pooled share 59/800, z = 0.0475 / √(0.07375 · 0.92625 · 2/400) = 2.570.

    Agresti-Caffo: 40/402 - 21/402 = 0.04726, ± 1.96 √((.0995 · .9005 + .05224 · .94776) / 402) = 0.03646.
    """
    found = unpaired_difference(20, 400, 39, 400)
    assert found.z == pytest.approx(2.570, abs=1e-3) and found.p == pytest.approx(0.01017, abs=1e-5)
    limits = found.difference
    assert (limits.value, limits.low, limits.high) == pytest.approx((0.0475, 0.0108, 0.0837), abs=1e-4)


def test_swapping_the_two_mirrors_the_difference_and_equal_scores_have_none():
    there, back = unpaired_difference(3, 50, 9, 40), unpaired_difference(9, 40, 3, 50)
    assert (back.difference.low, back.difference.high) == (-there.difference.high, -there.difference.low)
    assert back.p == there.p and back.z == -there.z
    assert unpaired_difference(5, 10, 5, 10).p == 1.0
    assert unpaired_difference(0, 10, 0, 10).z == 0.0


def test_the_interval_covers():
    rng = np.random.default_rng(1)
    draws = zip(rng.binomial(400, 0.05, 1500), rng.binomial(400, 0.0975, 1500), strict=True)
    found = [unpaired_difference(int(a), 400, int(b), 400).difference for a, b in draws]
    assert 0.93 <= np.mean([i.low <= 0.0475 <= i.high for i in found]) <= 0.97


def test_the_studys_table():
    """Limits, z and needed prompts agree with the analysis of the published shares."""
    entries = read_leaderboard(STUDY)
    assert [e.name for e in entries] == ["DPO-20k", "SFT", "XPO", "IPO", "DPO-5k", "synthetic"]
    limits = [(round(e.share.low, 3), round(e.share.high, 3)) for e in entries]
    assert limits == [
        (0.070, 0.131),
        (0.031, 0.076),
        (0.019, 0.058),
        (0.017, 0.055),
        (0.014, 0.049),
        (0.012, 0.045),
    ]
    found = {(p.better.name, p.worse.name): p for p in pairs(entries)}
    assert len(found) == 15 and sum(p.resolved for p in found.values()) == 4
    z = [round(found[pair].found.z, 2) for pair in (("DPO-20k", "SFT"), ("SFT", "DPO-5k"), ("XPO", "DPO-5k"))]
    assert z == [2.57, 1.65, 0.61]
    assert found["XPO", "DPO-5k"].needed == 8500 and found["DPO-20k", "SFT"].needed == 480
    assert found["XPO", "DPO-5k"].sentence == (
        "XPO over DPO-5k: 0.75 points [-1.7, 3.2], z = 0.61, p = 0.54, 1 after Holm's adjustment: "
        "not significant, needs about 8,500 prompts each."
    )


def test_one_prompt_below_the_bar_is_not_below_the_bar():
    assert against_bar(Entry("DPO-20k", 39, 400), 0.10) == (
        "DPO-20k: 39 of 400 is 1 short of the 40 that the bar asks for; "
        "not significant, the bar lies inside [7.0, 13.1]."
    )
    assert "at or above the 30" in against_bar(Entry("x", 200, 300), 0.1)
    assert "significant, the bar lies outside" in against_bar(Entry("x", 200, 300), 0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("system,k\na,1\n", "row 1: the column n is missing"),
        ("system,k,n\na,x,10\nb,1,10\n", "row 1: k is 'x'"),
        ("system,k,n\na,1,10\nb,11,10\n", "row 2: 11 of 10 is not a share"),
        ("system,k,n\na,0.85,100\nb,1,100\n", "row 1: k is 0.85; give the number of prompts won"),
        ("system,k,n\na,nan,100\nb,1,100\n", "row 1: k is nan; give the number of prompts won"),
        ("system,k,n\na,1,0\nb,1,10\n", "row 1: 1 of 0 is not a share"),
        ("system,k,n\na,1,10\na,2,10\n", "a occurs twice"),
        ("# only a remark\nsystem,k,n\na,1,10\n", "needs two rows or more, and there are 1"),
    ],
)
def test_a_bad_table_is_named(tmp_path, text, message):
    file = tmp_path / "board.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        read_leaderboard(file)


def test_a_table_that_a_spreadsheet_saved(tmp_path):
    (tmp_path / "board.csv").write_text("system,k,n\r\na,1,10\r\nb,2,10\r\n", encoding="utf-8-sig")
    assert [entry.name for entry in read_leaderboard(tmp_path / "board.csv")] == ["b", "a"]


def test_the_page_and_its_tables(tmp_path):
    path, sentences = write_leaderboard(STUDY, tmp_path / "board.html", bar=0.1)
    assert sentences[0] == "DPO-20k: 39 of 400, 9.8 % [7.0, 13.1]." and len(sentences) == 6 + 6 + 15
    html = path.read_text()
    name = '<span class="unbroken">DPO-20k</span>'
    bar = "No system reaches the bar of 10.0\u00a0%"
    assert f"{bar}: {name} has 9.8\u00a0% [7.0,\u00a013.1] of 400 prompts, an" in html
    assert "4 of 15 differences are significant" in html and html.count("not significant</span>") == 11
    assert "share of prompts, %" in html and "difference, points" in html
    assert {p.suffix for p in tmp_path.iterdir()} == {".html", ".md", ".csv", ".tex"}


def board(**k):
    return [Entry(name, won, 400) for name, won in sorted(k.items(), key=lambda item: -item[1])]


@pytest.mark.parametrize(
    ("entries", "headline"),
    [
        (
            board(a=200, b=20, c=10),
            "a leads with 50.0 % [45.0, 55.0] of 400 prompts, significantly ahead of all of",
        ),
        (
            board(a=40, b=39, c=1),
            "a leads with 10.0 % [7.2, 13.4] of 400 prompts, significantly ahead of 1 of the 2",
        ),
        (
            board(a=11, b=10, c=9),
            "a leads with 2.8 % [1.4, 4.9] of 400 prompts, significantly ahead of none of the 2",
        ),
        (board(a=200, b=10), "a leads with 50.0 % [45.0, 55.0] of 400 prompts, significantly ahead of b"),
        (board(a=11, b=10), "a leads with 2.8 % [1.4, 4.9] of 400 prompts, not significantly ahead of b"),
        (board(a=11, b=11, c=1), "a and b lead with 2.8 %"),
    ],
)
def test_the_headline_is_who_leads(entries, headline):
    assert leaders(entries, pairs(entries)).startswith(headline)


def test_with_a_bar_the_headline_is_who_reaches_it():
    """40 of 400 is 10 %, whose interval [7.2, 13.4] contains the bar; 80 of 400 is 20 % [16.2, 24.3]."""
    assert reaching(board(a=80, b=40, c=1), 0.1) == (
        "2 of 3 systems reach the bar of 10.0 %, 1 significantly; a has 20.0 % [16.2, 24.3] of 400 prompts"
    )
    assert reaching(board(a=4, b=1), 0.1) == (
        "No system reaches the bar of 10.0 %: a has 1.0 % [0.27, 2.5] of 400 prompts"
    )
    assert reaching(board(a=39, b=1), 0.1).endswith(", an interval that contains the bar")


def test_half_wins_and_markup_in_names(tmp_path):
    file = tmp_path / "in.csv"
    file.write_text("system,k,n\n<script>alert(1)</script>,2.5,10\nb,1,10\n")
    path, sentences = write_leaderboard(file, tmp_path / "out.html")
    assert "2.5 of 10" in sentences[0]
    assert "<script>alert" not in path.read_text()
    low, high = clopper_pearson(2.5, 10)
    assert f"[{100 * low:.1f}, {100 * high:.1f}]" in sentences[0]


def test_the_table_read_is_not_written_over(tmp_path):
    file = tmp_path / "board.csv"
    file.write_text(STUDY.read_text())
    with pytest.raises(UserError, match="would be written over it"):
        write_leaderboard(file, tmp_path / "board.html")
    assert file.read_text() == STUDY.read_text()


@pytest.mark.parametrize(
    ("bar", "message"),
    [
        (10, "--bar: 10 is not a share between 0 and 1; write 0.1 for 10 %"),
        (-0.1, "--bar: -0.1 is not a share between 0 and 1\\."),
        (math.nan, "--bar: nan is not a share between 0 and 1\\."),
    ],
)
def test_a_bar_is_a_share(tmp_path, bar, message):
    with pytest.raises(UserError, match=message):
        write_leaderboard(STUDY, tmp_path / "page.html", bar)
    assert not [*tmp_path.iterdir()]
