"""One spelling of each calculation, one solution of each problem."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.data.countdown import generate
from boresight.data.countdown.normal_form import effort, normal_form, operations, simplest
from boresight.data.countdown.solver import render, solutions, value_of

EXPRESSIONS = st.recursive(
    st.integers(1, 20),
    lambda part: st.tuples(st.sampled_from("+-*"), part, part),
    max_leaves=4,
)


@pytest.mark.parametrize(
    ("expression", "spelling"),
    [
        (("-", 20, ("-", 6, 2)), "20 + 2 - 6"),
        (("-", 2, ("-", 6, 20)), "20 + 2 - 6"),
        (("+", 2, ("-", 20, 6)), "20 + 2 - 6"),
        (("/", 12, ("/", 3, 2)), "12 * 2 / 3"),
        (("*", 3, ("+", 4, 5)), "(5 + 4) * 3"),
        (("+", 3, ("*", 4, 5)), "5 * 4 + 3"),
        (7, "7"),
    ],
)
def test_spellings_worked_by_hand(expression, spelling):
    assert render(normal_form(expression)) == spelling


@given(EXPRESSIONS)
def test_the_value_and_the_numbers_stay(expression):
    made = normal_form(expression)
    assert value_of(made) == value_of(expression)
    assert sorted(leaves(made)) == sorted(leaves(expression))
    assert normal_form(made) == made


def leaves(expression):
    if isinstance(expression, int):
        return [expression]
    return [*leaves(expression[1]), *leaves(expression[2])]


def test_the_simplest_solution():
    """A sum before anything else, whatever the order of the numbers; 24 of 1, 5, 5, 5 needs a fraction."""
    assert render(simplest([2, 8, 4], 14)) == render(simplest([8, 4, 2], 14)) == "8 + 4 + 2"
    assert render(simplest([2, 4, 8], 10)) == "8 + 4 - 2"
    assert effort(simplest([1, 5, 5, 5], 24)) == 2
    assert simplest([1, 1], 9) is None


def test_no_solution_is_easier():
    for p in generate(40, seed=0):
        best = simplest(p.numbers, p.target)
        assert value_of(best) == p.target and sorted(leaves(best)) == sorted(p.numbers)
        assert effort(best) <= min(effort(normal_form(other)) for other in solutions(p.numbers, p.target))
        assert len(operations(best)) == len(p.numbers) - 1
