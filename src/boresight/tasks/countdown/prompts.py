"""Countdown prompts in the wording that public models and data sets use.

The wording must not change, since models that were trained on the public data expect it exactly. It asks to
use each number "once", which means exactly once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Message, Prompt
from boresight.tasks.countdown.problems import Problem, problem
from boresight.tasks.countdown.solver import Expression, render_expression

Style = Literal["chat", "base", "tiny"]

QUESTION = (
    "Using the numbers {numbers}, create an equation that equals {target}. You can use basic arithmetic "
    "operations (+, -, *, /) and each number can only be used once. Show your work in <think> </think> tags. "
    "And return the final answer in <answer> </answer> tags, for example <answer> (1 + 2) / 3 </answer>."
)
ASKED = re.compile(
    r"using the numbers \[(?P<numbers>\d{1,18}(?:,\s*\d{1,18})*)\],? create an equation "
    r"that equals (?P<target>\d{1,18})(?!\d)",
    re.IGNORECASE,
)
"""Pattern of the part of the prompt that all public copies have in common."""
SYSTEM = (
    "You are a helpful assistant. You first thinks about the reasoning process in the mind and then provides "
    "the user with the answer."
)
BASE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The "
    "assistant first thinks about the reasoning process in the mind and then provides the user with the "
    "answer.\nUser: {question}\nAssistant: Let me solve this step by step.\n"
)


def countdown_prompt(problem: Problem, style: Style = "chat") -> Prompt:
    """Write a problem as a prompt.

    Args:
        problem: the problem.
        style: `chat` is TinyZero's wording for instruction-tuned models, a system and a user message. `base`
            is its wording for base models, one message that ends inside the assistant's turn, to be used
            without a chat template. In both, the completion begins with `<think>`, as in the
            cognitive-behaviors data. `tiny` is the short form for `countdown-tiny`: the numbers, an equals
            sign, the target.

    Raises:
        UserError: the style is unknown.
    """
    if style not in get_args(Style):
        raise UserError(f"style: there is no Countdown prompt {style!r}{nearest(style, get_args(Style))}.")
    question = QUESTION.format(numbers=_listed(problem.numbers), target=problem.target)
    messages: dict[Style, list[Message]] = {
        "chat": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
        "base": [{"role": "user", "content": BASE.format(question=question)}],
        "tiny": [{"role": "user", "content": f"{' '.join(map(str, problem.numbers))} = {problem.target}"}],
    }
    return Prompt(messages[style], problem.id, problem.meta)


def asked_problem(words: str) -> Problem | None:
    """Return the problem in a prompt of the public wording; None for other texts."""
    found = ASKED.search(words)
    if found is None:
        return None
    return problem([int(number) for number in found["numbers"].split(",")], int(found["target"]))


def answered(
    problem: Problem, style: Style, thoughts: str, solution: Expression, meta: Mapping[str, Any]
) -> Demonstration:
    """Return the prompt with an answer: `thoughts` unchanged, then the solution between `<answer>` tags."""
    answer: Message = {
        "role": "assistant",
        "content": f"{thoughts}<answer> {render_expression(solution)} </answer>",
    }
    return Demonstration([*countdown_prompt(problem, style).prompt, answer], problem.id, dict(meta))


def _listed(numbers: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, numbers)) + "]"
