"""Answers to prompts that a set asks several times: every one is compared, and prompts are the units."""

from __future__ import annotations

import pytest

from boresight.core.schema import Prompt
from boresight.data.reading.load import read
from boresight.evaluation.matching import SystemAnswer, distinct_comparisons, each_once, matched, repeated
from boresight.evaluation.win_rate import System, win_rate
from boresight.stats.intervals import share_interval
from tests.scorers.fakes import LengthScorer


def turns(text):
    return [{"role": "user", "content": text}]


def prompts(*texts):
    return [Prompt(turns(text), f"p{n}") for n, text in enumerate(texts)]


def file(*pairs):
    return [SystemAnswer(None, turns(text), answer) for text, answer in pairs]


def by_id(*pairs):
    return [SystemAnswer(id, None, answer) for id, answer in pairs]


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (file(("a", "1"), ("b", "2"), ("a", "3")), {"p0": "1", "p1": "2", "p2": "3"}),
        (file(("b", "2"), ("a", "1")), {"p0": "1", "p1": "2", "p2": "1"}),
        (file(("a", "1"), ("a", "3"), ("a", "4")), {"p0": "1", "p1": None, "p2": "3"}),
        (by_id(("p2", "3"), ("p0", "1")), {"p0": "1", "p1": None, "p2": "3"}),
        (by_id(("p0", "1"), ("p1", "2")), {"p0": "1", "p1": "2", "p2": "1"}),
        (by_id(("p0", "1"), ("p0", "3")), {"p0": "1", "p1": None, "p2": "3"}),
        (file(("a", None), ("a", "3")), {"p0": None, "p1": None, "p2": "3"}),
    ],
)
def test_the_nth_of_equal_prompts_gets_the_nth_answer(answers, found):
    assert matched("s", prompts("a", "b", "a"), answers, "file").answers == found


def test_each_prompt_once_is_in_the_order_in_which_prompts_first_occur():
    """Of which a limit takes those at the top."""
    assert [p.id for p in each_once(prompts("a", "b", "a", "c", "b"))] == ["p0", "p1", "p3"]


def test_a_prompt_is_asked_as_often_as_a_file_answers_it():
    asked = repeated(prompts("a", "b"), [file(("b", "1"), ("b", "2"), ("b", "3")), by_id(("p0", "x"))])
    assert [(p.id, p.prompt[0]["content"]) for p in asked] == [
        ("p0", "a"), ("p1", "b"), ("p1#2", "b"), ("p1#3", "b"),
    ]  # fmt: skip


def test_a_comparison_that_repeats_an_earlier_one_counts_once():
    asked = prompts("a", "a", "a", "b")
    systems = [
        System("x", {"p0": "1", "p1": "1", "p2": "1", "p3": "1"}),
        System("y", {"p0": "2", "p1": "2", "p2": "3", "p3": "2"}),
    ]
    assert [p.id for p in distinct_comparisons(asked, systems)] == ["p0", "p2", "p3"]


def test_prompts_are_the_units_of_a_win_rate():
    """Prompt a: won, won, lost; b: lost; c: won. The rate is 3/5 of answers, from three prompts: 2/3, 0, 1.

    The sign test sees a won by two to one: two prompts to one.
    """
    asked = prompts("a", "a", "a", "b", "c")
    old = System("old", {p.id: "xx" for p in asked})
    new = System("new", dict(zip(old.answers, ["xxx", "xxx", "x", "x", "xxx"], strict=True)))
    found = win_rate(asked, old, new, LengthScorer())
    assert found.rate.value == pytest.approx(3 / 5) and found.rate.n == 3
    assert found.p == 1.0 and found.counts == {"won": 3, "tied": 0, "lost": 2, "failed": 0}


def test_copies_of_a_prompts_answers_narrow_no_interval():
    asked = prompts(*"abcdefgh" * 3)
    old = System("old", {p.id: "xx" for p in asked})
    new = System("new", {p.id: "xxx" if p.prompt[0]["content"] in "abcde" else "x" for p in asked})
    found = win_rate(asked, old, new, LengthScorer())
    alone = share_interval([1.0] * 5 + [0.0] * 3)
    assert (found.rate.low, found.rate.high, found.rate.n) == (alone.low, alone.high, 8)


@pytest.mark.real_data
def test_all_pairs_of_hh_are_compared(real_data):
    """Prompts that several pairs share: by the last answer alone, more than half of their pairs were lost."""
    pairs = read(real_data / "hh_rlhf_harmless_test/share.jsonl.gz", bad_rows="drop").examples
    chosen = [SystemAnswer(None, p.prompt, p.chosen[0]["content"]) for p in pairs]
    rows = [chosen, [SystemAnswer(None, p.prompt, p.rejected[0]["content"]) for p in pairs]]
    asked = repeated([Prompt(p.prompt, p.id) for p in pairs], rows)
    systems = [matched(name, asked, given, name) for name, given in zip("ab", rows, strict=True)]
    assert len(asked) == len(pairs)
    for p, pair in zip(asked, pairs, strict=True):
        assert systems[0].answers[p.id] == pair.chosen[0]["content"]
        assert systems[1].answers[p.id] == pair.rejected[0]["content"]
