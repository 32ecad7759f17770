"""Problems are solvable, different, reproducible and split for good; every public layout is read."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest

from boresight.core.errors import UserError
from boresight.tasks.countdown import (
    all_problems,
    generate_problems,
    orders,
    problem,
    problem_of,
    reachable,
    solve,
)
from boresight.tasks.countdown.problems import HELD_OUT_SHARE

TINY = {"sizes": (3,), "low": 1, "high": 20}


def key(p):
    return tuple(sorted(p.numbers)), p.target


def test_problems_are_within_bounds_solvable_and_different():
    problems = generate_problems(300, seed=0)
    assert len({key(p) for p in problems}) == 300
    assert {len(p.numbers) for p in problems} == {3, 4}
    for p in problems:
        assert all(1 <= n <= 99 for n in p.numbers) and 10 <= p.target <= 99
        assert solve(p.numbers, p.target) is not None


def test_the_seed_decides():
    assert generate_problems(50, seed=3) == generate_problems(50, seed=3) != generate_problems(50, seed=4)
    assert generate_problems(50, seed=3)[:20] == generate_problems(20, seed=3)


def test_splits_are_disjoint_whatever_the_seeds():
    train = {key(p) for seed in range(3) for p in generate_problems(2000, seed=seed, **TINY)}
    held_out = {
        key(p) for seed in range(3) for p in generate_problems(300, seed=seed, split="held_out", **TINY)
    }
    assert not train & held_out


def test_the_split_ignores_the_order_of_numbers():
    for p in generate_problems(50, seed=0):
        assert problem(p.numbers[::-1], p.target).split == p.split == "train"


def test_every_order_is_the_same_problem():
    p = problem([3, 7, 8], 29)
    found = orders(p)
    assert len({o.numbers for o in found}) == 6 == len({o.id for o in found})
    assert {key(o) for o in found} == {key(p)} and {o.split for o in found} == {p.split}
    assert [o.numbers for o in orders(problem([5, 5], 10))] == [(5, 5)]


def test_every_problem_of_a_small_range():
    """Pairs of 1 to 3, by hand: 2 from 1 1, 1 2 and 1 3; 3 from 1 2 and 1 3; 4 from 1 3 and 2 2."""
    found = [
        p
        for split in ("train", "held_out")
        for p in all_problems(2, split=split, low=1, high=3, targets=(2, 4))
    ]
    assert {(p.target, p.numbers) for p in found} == {
        (2, (1, 1)), (2, (1, 2)), (2, (1, 3)), (3, (1, 2)), (3, (1, 3)), (4, (1, 3)), (4, (2, 2))
    }  # fmt: skip
    assert len(found) == 7


def test_drawn_problems_are_among_all_of_their_split():
    (size,) = TINY["sizes"]
    there = {key(p) for p in all_problems(size, **{k: v for k, v in TINY.items() if k != "sizes"})}
    assert {key(p) for p in generate_problems(500, seed=0, **TINY)} <= there
    assert not {key(p) for p in generate_problems(300, seed=1, split="held_out", **TINY)} & there


def test_a_tenth_is_held_out():
    """5,000 problems: the share's standard error is 0.004."""
    places = [problem([a, b, c], 30).split for a in range(1, 18) for b in range(17) for c in range(17)]
    assert abs(places.count("held_out") / len(places) - HELD_OUT_SHARE) < 0.015


def test_asking_for_more_than_there_are_says_how_many_there_are():
    every = {
        problem(pair, int(value))
        for pair in combinations_with_replacement(range(1, 5), 2)
        for value in reachable(pair)
        if value.denominator == 1 and 1 <= value <= 99
    }
    train = [p for p in every if p.split == "train"]
    with pytest.raises(UserError, match=f"only {len(train)} train problems"):
        generate_problems(100, seed=0, sizes=(2,), low=1, high=4, targets=(1, 99))


@pytest.mark.parametrize(
    "row",
    [
        {"nums": [30, 100, 93], "target": 23},
        {"numbers": [30, 100, 93], "target": 23, "prompt": "…"},
        {"nums": ["30", "100", "93"], "target": "23"},
        {"input": "30,100,93", "output": "23"},
    ],
)
def test_public_layouts(row):
    first, second = problem_of(row, "here", "row-1"), problem_of({**row, "id": "mine"}, "here", "row-2")
    assert first.numbers == (30, 100, 93) and first.target == 23
    assert (first.id, second.id) == ("row-1", "mine")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"nums": [1, 2]}, "row 2: not a Countdown problem"),
        ({"nums": [1, 2.5], "target": 3}, r"row 2: nums holds 2\.5"),
        ({"nums": [], "target": 3}, "row 2: nums is"),
        ({"nums": 12, "target": 3}, "row 2: nums is 12"),
        ({"nums": [1, -2], "target": 3}, "row 2: nums holds -2"),
        ({"nums": [1, True], "target": 3}, "row 2: nums holds True"),
        ({"input": "1,,2", "output": "3"}, "row 2: input holds ''"),
        ({"nums": [1], "target": None}, "row 2: target holds None"),
    ],
)
def test_a_bad_row_is_named(row, complaint):
    with pytest.raises(UserError, match=complaint):
        problem_of(row, "row 2")


def test_orders_of_the_same_numbers_have_one_key():
    assert problem([3, 4, 5], 7).key == problem([5, 3, 4], 7).key
    others = [problem([3, 4, 5], 8), problem([3, 4], 7), problem([3, 45], 7), problem([3, 3, 4, 5], 7)]
    assert len({p.key for p in [problem([3, 4, 5], 7), *others]}) == 5
