"""What the reward `math` reads in a completion, for votes, for the form, and where the reading decides."""

from __future__ import annotations

import pytest

from boresight.tasks.math.rewards import LAST, MARKED, math_reading, solves_math
from boresight.tasks.reading import reader_of

pytest.importorskip("math_verify", reason="math-verify is not installed")
ROW = {"answer": "so #### 12"}


@pytest.mark.parametrize(
    ("completion", "answer", "formatted", "decided"),
    [
        ("#### 12", "12", True, ()),
        ("It is \\boxed{12.0} dollars", "12", True, ()),
        ("#### 7\n#### 12", "12", True, (LAST,)),
        ("#### 12\n#### 7", "7", True, (LAST,)),
        ("\\boxed{12} and \\boxed{12}", "12", True, ()),
        ("First we count the seven birds and then add five. " * 2 + "That makes 12", None, False, (MARKED,)),
        ("First we count the seven birds and then add five. " * 2 + "That makes 9", None, False, ()),
        ("#### 45 %", "45 %", True, ()),
        ("#### x + y", "x+y", True, ()),
    ],
)
def test_math_reading(completion, answer, formatted, decided):
    found = math_reading(completion, ROW)
    assert (found.answer, found.formatted, found.decided_by) == (answer, formatted, decided)


def test_the_last_number_counts_where_the_reward_is_told_so():
    text = "First we count the seven birds and then add five, one after the other. That makes 12"
    found = math_reading(text, ROW, unmarked="last_number")
    assert (found.answer, found.formatted, found.decided_by) == ("12", False, (MARKED,))
    assert solves_math([], [text], [ROW], unmarked="last_number") == [1.0]


def test_equal_answers_are_one_vote_and_the_reward_has_its_reading():
    votes = {math_reading(text, ROW).answer for text in ("#### $1,200", "#### 1200", "\\boxed{1200.00}")}
    assert votes == {"1200"}
    assert reader_of(solves_math) is math_reading
