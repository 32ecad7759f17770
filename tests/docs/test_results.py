"""Numbers in README and docs are those of the results that they are tied to."""

import pytest

from tests.docs.results import wrong_numbers
from tests.docs.snippets import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CSV = """block,name,title,column,value,low,high,n,missing,text
,rloo/dpo,RLOO against DPO,difference,-0.06,-0.1,-0.02,800,0,"'-6.0 points [-10.0, -2.0]"
,rloo/dpo,RLOO against DPO,verdict,,,,,,worse
B,dpo,DPO,reward,0.65,0.62,0.68,800,0,"65.0 % [62.0, 68.0], n = 800"
B,dpo,DPO,seeds,,,,,,4 of 4
B,rloo,RLOO,reward,0.59,0.56,0.62,800,0,"59.0 % [56.0, 62.0], n = 800"
B,dpo-full,DPO,area,0.5,,,,,50.0 %
B,dpo,DPO,area,0.6,,,,,60.0 %
"""
TABLE = """<!-- results results.csv B -->

| arm | reward | seeds |
|---|---|---|
| **DPO** | 65.0\N{NO-BREAK SPACE}% [62.0, 68.0] | 4 of 4 |
| RLOO | 59.0 % [56.0, 62.0], n = 800 | – |
"""
QUESTIONS = """<!-- results results.csv -->
| question | verdict | difference |
|---|---|---|
| RLOO against DPO | worse | **\N{MINUS SIGN}6.0 points [\N{MINUS SIGN}10.0, \N{MINUS SIGN}2.0]** |
"""
SENTENCE = """It solves 65.0 %
[62.0, 68.0]<!-- result results.csv B/dpo/reward -->, less by -6.0 points [-10.0,
-2.0]<!-- result results.csv /RLOO against DPO/difference --> than DPO.
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "results.csv").write_text(CSV)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_tied_numbers_were_measured(page):
    assert wrong_numbers(page.read_text(encoding="utf-8").replace("`<!--", "")) == []


@pytest.mark.parametrize(
    "text", [TABLE, QUESTIONS, SENTENCE, TABLE + "\n" + QUESTIONS + SENTENCE, "no number"]
)
def test_right_numbers_are_right(root, text):
    assert wrong_numbers(text, root) == []


@pytest.mark.parametrize(
    ("text", "was", "now", "says"),
    [
        (TABLE, "65.0", "66.0", "DPO, reward: '66.0 % [62.0, 68.0]' is written, '65.0 %"),
        (TABLE, "62.0, 68", "61.0, 68", "DPO, reward"),
        (TABLE, "4 of 4", "3 of 4", "DPO, seeds"),
        (TABLE, "4 of 4", "–", "DPO, seeds"),
        (TABLE, "| – |", "| 2 of 2 |", "RLOO, seeds: '2 of 2' is no result"),
        (TABLE, "| RLOO |", "| GRPO |", "GRPO, reward"),
        (TABLE, "| seeds |", "| minutes |", "DPO, minutes"),
        (TABLE, "| seeds |", "| area |", "stands for several numbers, 50.0 % and 60.0 %"),
        (TABLE, " B -->", " C -->", "is no result"),
        (TABLE, "results.csv", "results.csv B more", "not understood"),
        (QUESTIONS, "worse", "better", "RLOO against DPO, verdict"),
        (SENTENCE, "65.0", "64.0", "B/dpo/reward"),
        (SENTENCE, "65.0", "165.0", "B/dpo/reward"),
        (SENTENCE, "\N{HYPHEN-MINUS}6.0", "6.0", "/RLOO against DPO/difference"),
        (SENTENCE, "B/dpo/reward", "B/dpo/rewards", "results.csv has no such number"),
        (SENTENCE, "result results", "results results", "not understood"),
    ],
)
def test_wrong_numbers_are_named(root, text, was, now, says):
    assert was in text
    (wrong, *_) = wrong_numbers(text.replace(was, now, 1), root)
    assert says in wrong
