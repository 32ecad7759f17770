"""One way to write each solution, and one solution to each problem.

`20 - (6 - 2)`, `2 + 20 - 6` and `2 - (6 - 20)` are one calculation written three ways. A model that learns
from demonstrations has to guess which of them its teacher chose this time; shown one spelling it has only
the arithmetic to learn. Here it is `20 + 2 - 6`: no parentheses inside a sum or a product, added before
subtracted, multiplied before divided, larger before smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

from boresight.data.countdown.solver import Expression, render, solutions, value_of

OPPOSITE = {"+": "-", "*": "/"}
COST = {"+": 0, "-": 1, "*": 3, "/": 5}
"""What makes one solution simpler than another: a difference costs more than a sum, a quotient most."""


def normal_form(expression: Expression) -> Expression:
    """The same calculation in the one order and with the fewest parentheses.

    >>> render(normal_form(("-", 2, ("-", 6, 20))))
    '20 + 2 - 6'
    """
    if isinstance(expression, int):
        return expression
    joins = "+" if expression[0] in "+-" else "*"
    direct, inverse = _parts(expression, joins)
    whole: Expression | None = None
    for operation, parts in ((joins, direct), (OPPOSITE[joins], inverse)):
        for part in sorted(map(normal_form, parts), key=value_of, reverse=True):
            whole = part if whole is None else (operation, whole, part)
    assert whole is not None  # the leftmost part is never taken away
    return whole


def simplest(numbers: Sequence[int], target: int) -> Expression | None:
    """The simplest solution in its normal form, whatever the order of `numbers`; None when there is none.

    Natural numbers on the way come before negative ones and these before fractions; then the cheaper
    operations win, and at last the alphabet.
    """
    found = (normal_form(expression) for expression in solutions(sorted(numbers), target))
    return min(found, key=_difficulty, default=None)


def effort(expression: Expression) -> int:
    """0 when every value on the way is a natural number, 1 with negative ones, 2 with fractions."""
    values = [value_of(step) for step in operations(expression)]
    if any(value.denominator != 1 for value in values):
        return 2
    return int(any(value < 0 for value in values))


def operations(expression: Expression) -> list[tuple[str, Expression, Expression]]:
    """The operations of an expression in the order they are carried out."""
    if isinstance(expression, int):
        return []
    return [*operations(expression[1]), *operations(expression[2]), expression]


def _difficulty(expression: Expression) -> tuple[int, int, int, str]:
    text = render(expression)
    cost = sum(COST[operation] for operation, _, _ in operations(expression))
    return effort(expression), cost, text.count("("), text


def _parts(expression: Expression, joins: str) -> tuple[list[Expression], list[Expression]]:
    """What is added and what is subtracted in a sum; for `*`, what multiplies and what divides."""
    if isinstance(expression, int) or expression[0] not in (joins, OPPOSITE[joins]):
        return [expression], []
    direct, inverse = _parts(expression[1], joins)
    more, less = _parts(expression[2], joins)
    if expression[0] != joins:
        more, less = less, more
    return direct + more, inverse + less
