"""Generate worked solutions in English with the solver, as demonstrations for training.

Gandhi et al. 2025 (arXiv 2503.01307) name four behaviors that let a small model improve under reinforcement
learning: verification, backtracking, setting sub-goals and backward chaining. A trace contains the requested
behaviors and one solution. Every equation and every claim in it is checked by the solver, also in failed
attempts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, get_args

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.schema import Demonstration
from boresight.tasks.countdown.problems import Problem
from boresight.tasks.countdown.prompts import Style, answered
from boresight.tasks.countdown.solver import (
    OPERATIONS,
    Expression,
    can_make,
    effort,
    literals,
    operations,
    render_expression,
    solutions,
    value_of,
)

Behaviour = Literal["backtracking", "backward_chaining", "subgoals", "verification"]
BEHAVIOURS: tuple[Behaviour, ...] = get_args(Behaviour)

UNDO = {"+": "-", "-": "+", "*": "/", "/": "*"}


def trace(
    problem: Problem,
    *,
    seed: int = 0,
    behaviours: Sequence[Behaviour] = BEHAVIOURS,
    style: Style = "chat",
) -> Demonstration:
    """Write a worked solution, `<think>…</think>` then `<answer>…</answer>`, with the requested behaviors.

    The seed determines the solution, the failed attempts and the wording. `meta` contains the problem and the
    behaviors.

    Raises:
        UserError: a behavior is unknown, or the problem has no solution.
    """
    for behaviour in behaviours:
        if behaviour not in BEHAVIOURS:
            raise UserError(f"behaviours: there is no {behaviour!r}{nearest(behaviour, BEHAVIOURS)}.")
    rng = random.Random(f"{problem.id} {problem.target} {seed}")
    solution = _choose_solution(problem, rng)
    lines = [f"The numbers are {_and(problem.numbers)}, and the target is {problem.target}."]
    if "backtracking" in behaviours:
        lines += _dead_ends(problem, rng)
    if "backward_chaining" in behaviours:
        lines += _work_backwards(problem, solution, rng, "backtracking" in behaviours)
    lines += _carry_out(solution, rng, "subgoals" in behaviours)
    if "verification" in behaviours:
        lines += _verify(problem, solution, rng)
    thoughts = "\n".join(lines)
    meta = {**problem.meta, "behaviours": list(behaviours)}
    return answered(problem, style, f"<think>\n{thoughts}\n</think>\n", solution, meta)


def _choose_solution(problem: Problem, rng: random.Random) -> Expression:
    """Return a random solution among the easiest ones."""
    found = list(solutions(problem.numbers, problem.target))
    if not found:
        raise UserError(f"countdown: {_and(problem.numbers)} cannot make {problem.target}; drop the problem.")
    easiest = min(map(effort, found))
    return rng.choice([expression for expression in found if effort(expression) == easiest])


def _dead_ends(problem: Problem, rng: random.Random) -> list[str]:
    """Write one or two complete attempts that miss the target, each followed by backtracking."""
    lines: list[str] = []
    for expression in _attempts(problem, rng, rng.choice([1, 1, 2])):
        value = value_of(expression)
        miss = value - problem.target
        verdict = f"{miss} too much" if miss > 0 else f"{-miss} too little"
        lines.append(
            rng.choice(["Let me try", "A first guess is", "What about", "Maybe"])
            + f" {render_expression(expression)}."
        )
        lines.append(f"{_steps(expression)}. That is {verdict}.")
        lines.append(
            rng.choice(
                [
                    "This does not work, so let me go back and try something else.",
                    "Not the target. Let me take a different approach.",
                    "That path fails; I start again with other operations.",
                ]
            )
        )
    return lines


def _attempts(problem: Problem, rng: random.Random, count: int) -> list[Expression]:
    """Return different expressions of all numbers that miss the target, such as a person would try."""
    attempts: dict[str, Expression] = {}
    for _ in range(50):
        numbers = list(problem.numbers)
        rng.shuffle(numbers)
        expression: Expression = numbers[0]
        for number in numbers[1:]:
            expression = (rng.choice("+-*" if len(attempts) else "++-*"), expression, number)
        if value_of(expression) != problem.target:
            attempts[render_expression(expression)] = expression
        if len(attempts) == count:
            break
    return list(attempts.values())


def _work_backwards(problem: Problem, solution: Expression, rng: random.Random, dead_end: bool) -> list[str]:
    """Write the last step of the solution, and what its operands have to make.

    With `dead_end`, an impossible last step comes first.
    """
    lines = [rng.choice(["Let me work backwards from", "I start from the goal,"]) + f" {problem.target}."]
    if dead_end:
        lines += _impossible_last_step(problem, rng)
    if isinstance(solution, int):
        return lines
    operation, left, right = solution
    a, b = value_of(left), value_of(right)
    lines.append(f"{_show(a)} {operation} {_show(b)} = {problem.target}, and that can be the last step.")
    for part, value in ((left, a), (right, b)):
        if not isinstance(part, int):
            lines.append(f"So {_and(sorted(literals(part)))} have to make {value}.")
    return lines


def _impossible_last_step(problem: Problem, rng: random.Random) -> list[str]:
    numbers = list(problem.numbers)
    rng.shuffle(numbers)
    for number in numbers:
        rest = list(problem.numbers)
        rest.remove(number)
        for operation in rng.sample("+-*", 3):
            if operation == "*" and number == 0:
                continue
            needed = OPERATIONS[UNDO[operation]](Fraction(problem.target), Fraction(number))
            if needed.denominator == 1 and needed > 0 and len(rest) > 1 and not can_make(rest, needed):
                return [
                    f"If the last step is {needed} {operation} {number} = {problem.target}, "
                    f"{_and(rest)} have to make {needed}.",
                    rng.choice(
                        [
                            "They cannot, so that is a dead end.",
                            "No combination of them does, so I go back.",
                        ]
                    ),
                ]
    return []


def _carry_out(solution: Expression, rng: random.Random, as_goals: bool) -> list[str]:
    """Write the solution step by step; with `as_goals`, each step begins with its sub-goal."""
    if not as_goals:
        return [f"{_steps(solution)}."]
    lines = []
    steps = operations(solution)
    for place, step in enumerate(steps, start=1):
        goal = "reach the target" if place == len(steps) else f"get {value_of(step)}"
        opening = rng.choice([f"Sub-goal {place}: {goal}.", f"Step {place}, to {goal}:"])
        lines.append(f"{opening} {_equation(step)}.")
    return lines


def _verify(problem: Problem, solution: Expression, rng: random.Random) -> list[str]:
    opening = rng.choice(["Let me check", "To verify, I compute", "Checking"])
    used = _and(sorted(problem.numbers))
    return [
        f"{opening} {render_expression(solution)}: {_steps(solution)}.",
        rng.choice(
            [
                f"It uses {used} once each and equals {problem.target}.",
                f"The result is {problem.target}, and {used} are all used exactly once.",
            ]
        ),
    ]


def _steps(expression: Expression) -> str:
    return ", ".join(map(_equation, operations(expression)))


def _equation(step: tuple[str, Expression, Expression]) -> str:
    operation, left, right = step
    return f"{_show(value_of(left))} {operation} {_show(value_of(right))} = {value_of(step)}"


def _show(value: Fraction) -> str:
    """Return a value as an operand: fractions and negative numbers are in parentheses."""
    return str(value) if value.denominator == 1 and value >= 0 else f"({value})"


def _and(numbers: Sequence[int]) -> str:
    *rest, last = map(str, numbers)
    return f"{', '.join(rest)} and {last}" if rest else last
