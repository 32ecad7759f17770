"""Write the search for a solution in the vocabulary of the tiny model.

Without a search, the model would have to compute the solution in a single forward pass. In the search, every
attempt has its own tokens: for each pair of the three numbers its possible results (sum, difference, product,
quotient), an equals sign, and the values that the pair must have so that the third number completes the
solution, until one value is in both lists.

    3 7 8 = 29     <think> 10 4 21 _ = 21 </think> <answer> 3 * 7 + 8 </answer>

21 is 29 - 8, and it is the product of 3 and 7. A blank (`_`) stands for a value that is not whole or is above
99, and a semicolon for a pair that fails. This is backward chaining with backtracking (`traces` has both in
English).
"""

from __future__ import annotations

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration
from boresight.tasks.countdown.problems import Problem
from boresight.tasks.countdown.prompts import answered
from boresight.tasks.countdown.solver import Expression, solutions

LARGEST = 99
"""Largest number in the vocabulary of the tiny model."""
BLANK, NEXT_PAIR = "_", ";"


def search_trace(asked: Problem, *, written: bool = True) -> Demonstration:
    """Return a problem with three numbers, the search through its pairs in order, and the solution found.

    One problem in fifty needs a number above 99 or a fraction as an intermediate value. Its search ends
    without success, and is followed by any solution. If `written` is False, the same solution is given
    without the search.

    Raises:
        UserError: there are not three numbers, or the problem has no solution.
    """
    if len(asked.numbers) != 3:
        raise UserError(f"countdown: the search is for three numbers, not {len(asked.numbers)}; use `trace`.")
    words, found = _search(*asked.numbers, target=asked.target)
    solution = found or next(solutions(asked.numbers, asked.target), None)
    if solution is None:
        numbers = ", ".join(map(str, asked.numbers))
        raise UserError(f"countdown: {numbers} cannot make {asked.target}; drop the problem.")
    thoughts = f"<think> {' '.join(words)} </think> " if written else ""
    return answered(asked, "tiny", thoughts, solution, asked.meta)


def _search(a: int, b: int, c: int, *, target: int) -> tuple[list[str], Expression | None]:
    """Return the words of the search, and the solution that it finds; None if it finds none."""
    words: list[str] = []
    for x, y, last in ((a, b, c), (a, c, b), (b, c, a)):
        made = _made(x, y)
        words += [*(_word(value) for value, _ in made), "="]
        for needed, operation, swapped in _needed(target, last):
            words.append(_word(needed))
            pair = next((how for value, how in made if value == needed), None)
            if pair is not None and words[-1] != BLANK:
                return words, (operation, last, pair) if swapped else (operation, pair, last)
        words.append(NEXT_PAIR)
    return words, None


def _made(x: int, y: int) -> list[tuple[int | None, Expression]]:
    """Return the results of two numbers with their operations.

    The larger number is the left operand if the order matters.
    """
    high, low = max(x, y), min(x, y)
    return [
        (x + y, ("+", x, y)),
        (high - low, ("-", high, low)),
        (x * y, ("*", x, y)),
        (_quotient(high, low), ("/", high, low)),
    ]


def _needed(target: int, last: int) -> list[tuple[int | None, str, bool]]:
    """Return the values that a pair may have so that `last` completes the solution.

    Each comes with the completing operation, and whether `last` is its left operand.
    """
    return [
        (abs(target - last), "+" if target >= last else "-", target < last),
        (target + last, "-", False),
        (_quotient(target, last), "*", False),
        (target * last, "/", False),
    ]


def _quotient(a: int, b: int) -> int | None:
    return a // b if b and a % b == 0 else None


def _word(value: int | None) -> str:
    return BLANK if value is None or value > LARGEST else str(value)
