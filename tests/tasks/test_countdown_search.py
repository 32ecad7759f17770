"""The tiny model's searches: every word is true, they stop where they should, and they end in a solution."""

from __future__ import annotations

import re

import pytest

from boresight.core.errors import UserError
from boresight.data.reading.sources.generated import read_generated
from boresight.tasks.countdown import all_problems, generate_problems, problem, score, search_trace
from boresight.tasks.countdown.problems import TINY

SPACE = {name: TINY[name] for name in ("low", "high", "targets")}


def text_of(numbers, target) -> str:
    return search_trace(problem(numbers, target)).messages[-1]["content"]


@pytest.mark.parametrize(
    ("numbers", "target", "text"),
    [
        ([3, 7, 8], 29, "<think> 10 4 21 _ = 21 </think> <answer> 3 * 7 + 8 </answer>"),
        ([12, 3, 18], 18, "<think> 15 9 36 4 = 0 36 </think> <answer> 12 * 3 - 18 </answer>"),
        ([6, 5, 17], 47, "<think> 11 1 30 _ = 30 </think> <answer> 6 * 5 + 17 </answer>"),
        ([6, 17, 5], 47, "<think> 23 11 _ _ = 42 52 _ _ ; 11 1 30 _ = 30 </think> "
         "<answer> 6 * 5 + 17 </answer>"),
        ([20, 1, 1], 10, "<think> 21 19 20 20 = 9 11 10 10 ; 21 19 20 20 = 9 11 10 10 ; "
         "2 0 1 1 = 10 30 _ _ ; </think> <answer> 20 / (1 + 1) </answer>"),
        ([9, 4, 3], 15, "<think> 13 5 36 _ = 12 18 5 </think> <answer> (9 - 4) * 3 </answer>"),
        ([6, 9, 1], 15, "<think> 15 3 54 _ = 14 16 15 </think> <answer> (6 + 9) * 1 </answer>"),
        ([20, 4, 17], 12, "<think> 24 16 80 5 = 5 </think> <answer> 17 - 20 / 4 </answer>"),
        ([6, 8, 2], 24, "<think> 14 2 48 _ = 22 26 12 48 </think> <answer> 6 * 8 / 2 </answer>"),
    ],
)  # fmt: skip
def test_searches_written_by_hand(numbers, target, text):
    assert text_of(numbers, target) == text


def test_every_search_is_true_and_ends_in_a_solution():
    """All training problems: each pair's four values and what is missing, up to the first that meet."""
    exhausted = 0
    for p in all_problems(3, **SPACE):
        text = text_of(p.numbers, p.target)
        assert score(text, p.numbers, p.target).correct
        a, b, c = p.numbers
        *given_up, last = re.fullmatch(r"<think> (.+) </think> <answer> .+ </answer>", text)[1].split(" ;")
        for pair, words in zip([(a, b, c), (a, c, b), (b, c, a)], given_up, strict=False):
            made, needed = values_by_hand(*pair, p.target)
            assert words.split() == [*made, "=", *needed]
            assert not (set(made) & set(needed)) - {"_"}
        if last:
            pair = [(a, b, c), (a, c, b), (b, c, a)][len(given_up)]
            made, needed = values_by_hand(*pair, p.target)
            shown = last.split()
            assert shown[:5] == [*made, "="] and shown[5:] == needed[: len(shown) - 5]
            assert shown[-1] in made and not (set(made) & set(shown[5:-1])) - {"_"}
        exhausted += not last
    assert exhausted == 196


def values_by_hand(x, y, z, target):
    """Words for what two numbers make and what the third leaves to be made."""

    def word(value):
        return str(int(value)) if value == int(value) and value <= 99 else "_"

    big, small = sorted([x, y], reverse=True)
    made = [x + y, big - small, x * y, big / small]
    return [*map(word, made)], [*map(word, [abs(target - z), target + z, target / z, target * z])]


def test_the_order_of_the_numbers_is_the_order_of_the_search():
    p = generate_problems(1, seed=0, **TINY)[0]
    assert text_of(p.numbers, p.target) != text_of(p.numbers[::-1], p.target)


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [([1, 2], "three numbers, not 2"), ([1, 1, 1], "1, 1, 1 cannot make 50")],
)
def test_what_cannot_be_searched_is_refused(numbers, complaint):
    with pytest.raises(UserError, match=complaint):
        text_of(numbers, 50)


def test_the_same_solution_can_be_given_at_once():
    p = problem([3, 7, 8], 29)
    assert search_trace(p, written=False).messages[-1]["content"] == "<answer> 3 * 7 + 8 </answer>"


def test_a_little_more_than_half_of_the_demonstrations_answer_at_once():
    """59,135 draws of a share of 0.55: within four standard errors, 0.008; the same from run to run."""
    first, second = (read_generated("generate:countdown-tiny-solutions").examples for _ in range(2))
    at_once = sum("<think>" not in e.messages[-1]["content"] for e in first)
    assert abs(at_once / len(first) - 0.55) < 0.008
    assert first == second


def test_three_in_a_hundred_of_the_rare_searches_are_searches():
    """59,135 draws of a share of 0.03: within four standard errors, 0.003; otherwise the same problems."""
    rare, usual = (
        read_generated(f"generate:countdown-tiny-{name}").examples for name in ("rare-searches", "solutions")
    )
    searched = sum("<think>" in e.messages[-1]["content"] for e in rare)
    assert abs(searched / len(rare) - 0.03) < 0.003
    assert [e.messages[0] for e in rare] == [e.messages[0] for e in usual]
