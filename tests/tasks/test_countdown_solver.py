"""The solver against exhaustive search, and its expressions against the verifier."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boresight.data.reading.load import read
from boresight.tasks.countdown import problem_of, reachable, score, solve
from boresight.tasks.countdown.solver import (
    effort,
    literals,
    operations,
    render_expression,
    solutions,
    value_of,
)


def every_value(values: list[Fraction]) -> set[Fraction]:
    """All values by brute force: join any two in any way, again and again."""
    if len(values) == 1:
        return {values[0]}
    found = set()
    for i, j in permutations(range(len(values)), 2):
        a, b = values[i], values[j]
        rest = [v for n, v in enumerate(values) if n not in (i, j)]
        for joined in [a + b, a - b, a * b, *([a / b] if b else [])]:
            found |= every_value([*rest, joined])
    return found


@given(st.lists(st.integers(0, 12), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_reachable_is_what_exhaustive_search_reaches(numbers):
    assert reachable(numbers).keys() == every_value([Fraction(n) for n in numbers])


def test_reachable_with_four_numbers():
    assert reachable([1, 2, 5, 8]).keys() == every_value([Fraction(n) for n in (1, 2, 5, 8)])


@given(st.lists(st.integers(0, 20), min_size=1, max_size=4), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_solve_finds_a_solution_exactly_when_there_is_one(numbers, target):
    found = solve(numbers, target)
    assert (found is not None) == (Fraction(target) in reachable(numbers))
    if found is not None:
        assert score(f"<answer>{found}</answer>", numbers, target).correct


@given(st.lists(st.integers(1, 30), min_size=2, max_size=4), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_every_solution_is_one_as_a_tree_and_as_text(numbers, target):
    for expression in solutions(numbers, target):
        assert value_of(expression) == target and sorted(literals(expression)) == sorted(numbers)
        assert score(f"<answer>{render_expression(expression)}</answer>", numbers, target).correct


@pytest.mark.parametrize(
    ("numbers", "target", "solution"),
    [
        ([3, 3, 8, 8], 24, "8 / (3 - 8 / 3)"),
        ([1, 5, 5, 5], 24, "(5 - 1 / 5) * 5"),
        ([5], 5, "5"),
        ([5], 6, None),
        ([1, 1, 1], 50, None),
        ([0, 3], 0, "0 * 3"),
    ],
)
def test_known_puzzles(numbers, target, solution):
    assert solve(numbers, target) == solution


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (("-", 9, ("-", 4, 2)), "9 - (4 - 2)"),
        (("-", ("-", 9, 4), 2), "9 - 4 - 2"),
        (("/", 9, ("*", 4, 2)), "9 / (4 * 2)"),
        (("*", ("+", 9, 4), ("+", 4, 2)), "(9 + 4) * (4 + 2)"),
        (("+", 9, ("*", 4, 2)), "9 + 4 * 2"),
    ],
)
def test_parentheses_stand_where_they_matter(expression, text):
    assert render_expression(expression) == text


@pytest.mark.parametrize(
    ("expression", "level"),
    [
        (("-", ("+", 2, 20), 6), 0),
        (("-", 20, ("-", 2, 6)), 1),
        (("*", ("/", 3, 2), 4), 2),
        (7, 0),
    ],
)
def test_effort_grows_from_natural_numbers_to_negative_ones_to_fractions(expression, level):
    assert effort(expression) == level


def test_operations_come_in_the_order_they_are_carried_out():
    assert list(map(render_expression, operations(("*", ("+", 9, 4), ("-", 4, 2))))) == [
        "9 + 4", "4 - 2", "(9 + 4) * (4 - 2)",
    ]  # fmt: skip


@pytest.mark.real_data
def test_public_problems_are_solved(real_data):
    for name in ("d1_countdown/countdown_cd3_test.jsonl", "countdown_posttrain/val_200.jsonl"):
        for p in (problem_of(example.meta, name) for example in read(real_data / name).examples):
            assert score(f"<answer>{solve(p.numbers, p.target)}</answer>", p.numbers, p.target).correct


@pytest.mark.real_data
def test_public_gold_expressions_are_correct(real_data):
    file = real_data / "countdown_posttrain" / "val_200.jsonl"
    for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
        verdict = score(f"<answer>{row['gold_expr']}</answer>", row["numbers"], row["target"])
        assert verdict.correct, verdict.reason
