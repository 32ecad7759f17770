"""Compute the key by which splits, leak checks and evaluations compare prompts."""

from __future__ import annotations

import re
from collections import Counter

from boresight.core.errors import UserError
from boresight.core.schema import Example, prompt_of, turn_key
from boresight.tasks.countdown.problems import Problem, problem_of
from boresight.tasks.countdown.prompts import asked_problem

NUMBER = re.compile(r"(?<!\d)\d{1,18}(?!\d)")
"""Pattern of a number of at most 18 digits.

Problems have no longer numbers, and Python refuses to convert numbers of more than 4,300 digits.
"""


def prompt_key(example: Example) -> str:
    """Return the key of the prompt, which is equal for examples with the same question.

    A Countdown problem is identified by its target and its numbers in any order, whatever the wording. Any
    other prompt is identified by the text of its turns. Splits depend on the key, so a change of the key
    would change the split of every run.
    """
    problem = _countdown(example)
    return f"countdown {problem.key}" if problem else repr([turn_key(m) for m in prompt_of(example)])


def _countdown(example: Example) -> Problem | None:
    """Return the Countdown problem that the only user turn states; None for other prompts.

    The problem is read from the columns of the row, or from the text of the turn.
    """
    asked = [message["content"] for message in prompt_of(example) if message["role"] == "user"]
    if len(asked) != 1:
        return None
    try:
        problem = problem_of(example.meta, "this row")
    except UserError:
        return asked_problem(asked[0])
    needed, said = Counter([*problem.numbers, problem.target]), Counter(map(int, NUMBER.findall(asked[0])))
    return problem if needed <= said else None
