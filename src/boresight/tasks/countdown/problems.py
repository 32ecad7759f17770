"""Generate Countdown problems, read them from rows, and split them into training and held-out problems.

The two splits are disjoint.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from itertools import combinations_with_replacement, permutations
from typing import Any, Literal

from boresight.core.errors import UserError
from boresight.tasks.countdown.solver import OPERATIONS, reachable

ProblemSplit = Literal["train", "held_out"]
HELD_OUT_SHARE = 0.1
"""Share of all problems that are held out.

It must not change, since another share would move problems between the splits.
"""

PATIENCE = 30_000
"""Number of consecutive samples without a new problem after which `generate_problems` stops."""

MOST_DIGITS = 18
"""Maximum number of digits of a number; Python refuses to convert texts of more than 4,300 digits."""
LAYOUTS = (("nums", "target"), ("numbers", "target"), ("input", "output"))
"""Columns that may contain the numbers and the target, in order of preference."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Countdown problem: reach `target` with all `numbers`, each used once."""

    numbers: tuple[int, ...]
    target: int
    id: str

    @property
    def key(self) -> str:
        """Key of the problem: its sorted numbers and its target. Equal problems have equal keys."""
        return f"{sorted(self.numbers)} {self.target}"

    @property
    def split(self) -> ProblemSplit:
        """`held_out` or `train`, by a hash of `key`, so that the order of the numbers does not matter."""
        place = int.from_bytes(blake2b(self.key.encode(), digest_size=8).digest()) / 2**64
        return "held_out" if place < HELD_OUT_SHARE else "train"

    @property
    def meta(self) -> dict[str, Any]:
        """Columns for the `meta` of a row, with which its completions can be scored."""
        return {"numbers": list(self.numbers), "target": self.target}


def problem(numbers: Sequence[int], target: int) -> Problem:
    """Make a problem whose id is composed of its numbers and its target."""
    return Problem(tuple(numbers), target, f"{'-'.join(map(str, numbers))}={target}")


def generate_problems(
    count: int,
    *,
    seed: int,
    split: ProblemSplit = "train",
    sizes: Sequence[int] = (3, 4),
    low: int = 1,
    high: int = 99,
    targets: tuple[int, int] = (10, 99),
) -> list[Problem]:
    """Generate `count` different solvable problems of one split; the same for the same seed.

    Numbers are sampled uniformly from `low` to `high`. Random pairs of them are combined by random operations
    until one value is left, which is the target if it is a whole number within `targets`. Different orders of
    the same numbers are one problem. The splits are disjoint, whatever the seeds.

    Args:
        count: number of problems.
        seed: seed of the samples.
        split: `train` or `held_out`.
        sizes: possible lengths of a problem, in numbers.
        low: smallest number.
        high: largest number.
        targets: smallest and largest target.

    Raises:
        UserError: the generator did not find that many problems.
    """
    rng = random.Random(seed)
    found: dict[str, Problem] = {}
    fruitless = 0
    while len(found) < count and fruitless < PATIENCE:
        fruitless += 1
        numbers = [rng.randint(low, high) for _ in range(rng.choice(sizes))]
        value = _join(numbers, rng)
        if value is None or value.denominator != 1 or not targets[0] <= value <= targets[1]:
            continue
        candidate = problem(numbers, int(value))
        if candidate.key not in found and candidate.split == split:
            found[candidate.key] = candidate
            fruitless = 0
    if len(found) < count:
        raise UserError(
            f"countdown: there seem to be only {len(found)} {split} problems with {list(sizes)} numbers from "
            f"{low} to {high} and targets from {targets[0]} to {targets[1]}; ask for fewer than {count}."
        )
    return list(found.values())


def all_problems(
    size: int,
    *,
    split: ProblemSplit = "train",
    low: int = 1,
    high: int = 99,
    targets: tuple[int, int] = (10, 99),
) -> list[Problem]:
    """Return every solvable problem of one split with `size` numbers from `low` to `high`.

    The numbers of a problem are in ascending order. Only for small ranges: three numbers up to 20 have some
    12,000 problems and take half a second.
    """
    return [
        candidate
        for numbers in combinations_with_replacement(range(low, high + 1), size)
        for value in reachable(numbers)
        if value.denominator == 1 and targets[0] <= value <= targets[1]
        if (candidate := problem(numbers, int(value))).split == split
    ]


def orders(given: Problem) -> list[Problem]:
    """Return the problem with its numbers in every order.

    The split does not depend on the order, so these are additional training data without held-out problems.
    """
    return [problem(numbers, given.target) for numbers in sorted(set(permutations(given.numbers)))]


def problem_of(row: Mapping[str, Any], where: str, name: str = "") -> Problem:
    """Read the problem in a row.

    Args:
        row: the columns of the row.
        where: beginning of an error, such as the file and the row.
        name: id of the problem if the row has none.

    Raises:
        UserError: the row has no numbers and target, or they are not whole numbers.
    """
    for numbers_field, target_field in LAYOUTS:
        if numbers_field in row and target_field in row:
            break
    else:
        layouts = ", ".join("/".join(layout) for layout in LAYOUTS)
        raise UserError(f"{where}: not a Countdown problem; give the fields {layouts}.")
    numbers = row[numbers_field]
    if isinstance(numbers, str):
        numbers = numbers.split(",")
    if not isinstance(numbers, Sequence) or not numbers:
        raise UserError(f"{where}: {numbers_field} is {repr(numbers)[:40]}; give a list of whole numbers.")
    whole = tuple(_whole(number, f"{where}: {numbers_field}") for number in numbers)
    target = _whole(row[target_field], f"{where}: {target_field}")
    return Problem(whole, target, str(row.get("id") or name))


def _whole(number: object, where: str) -> int:
    if isinstance(number, str) and number.strip().isdecimal() and len(number) <= MOST_DIGITS:
        return int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 10**MOST_DIGITS:
        shown = f"{number:.3g}" if isinstance(number, float) else repr(number)[:40]
        raise UserError(
            f"{where} holds {shown}; give whole numbers from 0 with at most {MOST_DIGITS} digits."
        )
    return number


def _join(numbers: Sequence[int], rng: random.Random) -> Fraction | None:
    """Return the value of a random expression of all the numbers; None if it divides by zero."""
    values: list[Fraction] = [Fraction(number) for number in numbers]
    while len(values) > 1:
        rng.shuffle(values)
        a, b = values.pop(), values.pop()
        operation = rng.choice(list(OPERATIONS))
        if operation == "/" and b == 0:
            return None
        values.append(OPERATIONS[operation](a, b))
    return values[0]


TINY: dict[str, Any] = {"sizes": (3,), "low": 1, "high": 20, "targets": (10, 99)}
"""Arguments of `generate_problems` for the problems of `countdown-tiny`."""
