"""What the Countdown rewards read in a completion, and where the manner of reading decides the grade."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.tasks.countdown.readings import (
    AS_PLAIN,
    CLAIM,
    CLOSED,
    LAST,
    LENIENT,
    public_reading,
    strict_reading,
)
from boresight.tasks.countdown.scorer import score
from boresight.tasks.reading import reader_of
from tests.odd_text import ODD

ROW = {"nums": [3, 4], "target": 12}


@pytest.mark.parametrize(
    ("completion", "answer", "decided"),
    [
        ("<answer> 3 * 4 </answer>", "3*4", ()),
        ("<answer>4 * 3</answer> or <answer>3*4</answer>", "3*4", ()),
        ("I give up", None, ()),
        ("<answer>3 + 4</answer> no, <answer>3 * 4</answer>", "3*4", (LAST,)),
        ("<answer>3 * 4</answer> no, <answer>3 + 4</answer>", "3+4", (LAST,)),
        ("<answer>3 * 4</answer> or <answer>3 *", None, (LAST, CLOSED)),
        ("<answer>3 + 4</answer> or <answer>3 *", None, ()),
        ("<answer>3 × 4</answer>", "3*4", (AS_PLAIN,)),
        ("<answer>3 × 5</answer>", "3*5", ()),
        ("<answer>3 * 4 = 12</answer>", "3*4", (CLAIM,)),
        ("<answer>3 * 4 = 13</answer>", "3*4", ()),
        ("<answer>3 × 4 = 12</answer>", "3*4", (AS_PLAIN, CLAIM)),
    ],
)
def test_strict_reading(completion, answer, decided):
    found = strict_reading(completion, ROW)
    assert (found.answer, found.formatted, found.decided_by) == (answer, answer is not None, decided)


def test_public_reading_counts_where_the_exact_verifier_differs():
    assert public_reading("<answer> 3*4 </answer>", ROW).decided_by == ()
    lenient = public_reading("<answer>3**4</answer>", {"nums": [3, 4], "target": 81})
    assert (lenient.answer, lenient.formatted, lenient.decided_by) == ("3**4", True, (LENIENT,))
    assert public_reading("none", ROW).answer is None


@given(st.text(alphabet="<answer>/34+*×= \n") | st.sampled_from(list(ODD)))
def test_any_text_is_read_and_its_form_is_the_scorers(text):
    for reading, mode in ((strict_reading, "strict"), (public_reading, "compat")):
        found = reading(text, ROW)
        assert found.formatted == score(text, [3, 4], 12, mode).formatted


def test_the_rewards_have_their_readings():
    from boresight.scorers.reward_function import load_reward

    assert reader_of(load_reward("countdown_compat")) is public_reading
    for name in ("countdown", "countdown_correct", "countdown_shaped"):
        assert reader_of(load_reward(name)) is strict_reading
