"""Exact Countdown solver: every number once, `+ - * /`, rational arithmetic.

A multiset of numbers is split into two parts in every way. Its reachable values are the combinations of every
value of the left part with every value of the right part. For a given target, the last combination is a
lookup: for a left value and an operation, exactly one right value gives the target.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from math import gcd

Expression = int | tuple[str, "Expression", "Expression"]
"""A number, or `(operation, left, right)`."""

Ratio = tuple[int, int]
"""Numerator and positive denominator of a reduced fraction.

`Fraction` is exact too, but several times slower.
"""

Multiset = tuple[int, ...]
"""Numbers in ascending order."""

OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


def solve(numbers: Sequence[int], target: int) -> str | None:
    """Return an expression that uses every number once and equals `target`; None if there is none.

    >>> solve([3, 7, 8], 29)
    '3 * 7 + 8'
    """
    first = next(solutions(numbers, target), None)
    return None if first is None else render_expression(first)


def solutions(numbers: Sequence[int], target: int) -> Iterator[Expression]:
    """Yield solutions that differ in their last operation or its operands.

    For each operand, only one way to compute its value is used.
    """
    goal = (target, 1)
    if len(numbers) == 1 and numbers[0] == target:
        yield numbers[0]
    for left, right in _splits(tuple(sorted(numbers))):
        makes_left, makes_right = _made(left), _made(right)
        for value, expression in makes_left.items():
            if target == 0 == value[0]:  # 0 times any value is 0, so no lookup is needed
                yield ("*", expression, next(iter(makes_right.values())))
            for operation, needed, swapped in _missing_parts(value, goal):
                other = makes_right.get(needed)
                if other is not None:
                    pair = (other, expression) if swapped else (expression, other)
                    yield (operation, *pair)


def reachable(numbers: Sequence[int]) -> dict[Fraction, str]:
    """Return every value that all the numbers together can make, with one expression for each."""
    return {Fraction(*value): render_expression(how) for value, how in _made(tuple(sorted(numbers))).items()}


def can_make(numbers: Sequence[int], value: int | Fraction) -> bool:
    """Whether all the numbers together can make `value`."""
    return Fraction(value).as_integer_ratio() in _made(tuple(sorted(numbers)))


def render_expression(expression: Expression) -> str:
    """Return the expression as text, without unnecessary parentheses."""
    if isinstance(expression, int):
        return str(expression)
    operation, left, right = expression
    binds = PRECEDENCE[operation]
    left_text, right_text = render_expression(left), render_expression(right)
    if _precedence(left) < binds:
        left_text = f"({left_text})"
    if _precedence(right) < binds or (_precedence(right) == binds and operation in "-/"):
        right_text = f"({right_text})"
    return f"{left_text} {operation} {right_text}"


def value_of(expression: Expression) -> Fraction:
    """Return the exact value of an expression."""
    if isinstance(expression, int):
        return Fraction(expression)
    operation, left, right = expression
    return OPERATIONS[operation](value_of(left), value_of(right))


def literals(expression: Expression) -> list[int]:
    """Return the numbers of an expression from left to right."""
    if isinstance(expression, int):
        return [expression]
    return literals(expression[1]) + literals(expression[2])


def operations(expression: Expression) -> list[tuple[str, Expression, Expression]]:
    """Return the operations of an expression in the order of evaluation."""
    if isinstance(expression, int):
        return []
    return [*operations(expression[1]), *operations(expression[2]), expression]


def effort(expression: Expression) -> int:
    """Return the difficulty of the intermediate values of an expression.

    0 if all are natural numbers, 1 if some are negative, 2 if some are fractions.
    """
    values = [value_of(step) for step in operations(expression)]
    if any(value.denominator != 1 for value in values):
        return 2
    return int(any(value < 0 for value in values))


def _precedence(expression: Expression) -> int:
    return 3 if isinstance(expression, int) else PRECEDENCE[expression[0]]


@lru_cache(maxsize=20_000)
def _made(numbers: Multiset) -> dict[Ratio, Expression]:
    """Return every value that uses all the numbers, with the first expression found for it.

    The result is cached and must not be modified.
    """
    if len(numbers) == 1:
        return {(numbers[0], 1): numbers[0]}
    made: dict[Ratio, Expression] = {}
    for left, right in _splits(numbers):
        for a, how_a in _made(left).items():
            for b, how_b in _made(right).items():
                _combine(made, a, how_a, b, how_b)
    return made


def _combine(made: dict[Ratio, Expression], a: Ratio, how_a: Expression, b: Ratio, how_b: Expression) -> None:
    (p, q), (r, s) = a, b
    ps, rq, qs, pr = p * s, r * q, q * s, p * r
    made.setdefault(_ratio(ps + rq, qs), ("+", how_a, how_b))
    made.setdefault(_ratio(ps - rq, qs), ("-", how_a, how_b))
    made.setdefault(_ratio(rq - ps, qs), ("-", how_b, how_a))
    made.setdefault(_ratio(pr, qs), ("*", how_a, how_b))
    if rq:
        made.setdefault(_ratio(ps, rq), ("/", how_a, how_b))
    if ps:
        made.setdefault(_ratio(rq, ps), ("/", how_b, how_a))


def _missing_parts(a: Ratio, goal: Ratio) -> Iterator[tuple[str, Ratio, bool]]:
    """Yield `(operation, b, swapped)` for every value b that makes `goal` together with `a`.

    `swapped` is whether b is the left operand.
    """
    (p, q), (t, u) = a, goal
    pu, tq, qu, pt = p * u, t * q, q * u, p * t
    yield "+", _ratio(tq - pu, qu), False
    yield "-", _ratio(pu - tq, qu), False
    yield "-", _ratio(tq + pu, qu), True
    if p:
        yield "*", _ratio(tq, pu), False
        yield "/", _ratio(pt, qu), True
    if p and t:
        yield "/", _ratio(pu, tq), False


def _ratio(p: int, q: int) -> Ratio:
    if q == 1:
        return p, 1
    shared = gcd(p, q)
    return (p // shared, q // shared) if q > 0 else (-p // shared, -q // shared)


@lru_cache(maxsize=20_000)
def _splits(numbers: Multiset) -> tuple[tuple[Multiset, Multiset], ...]:
    """Return every way to split a multiset into two non-empty parts, each once."""
    parts = set()
    indices = range(len(numbers))
    for size in range(1, len(numbers) // 2 + 1):
        for chosen in combinations(indices, size):
            left = tuple(numbers[i] for i in chosen)
            right = tuple(numbers[i] for i in indices if i not in chosen)
            parts.add(min((left, right), (right, left)))
    return tuple(sorted(parts))
