"""Countdown rewards for training: functions of a batch of prompts, completions and rows.

Every row must have the columns `numbers` (or `nums`) and `target`. Prompts are not read, so an answer in a
prompt gets no reward.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from boresight.tasks.countdown.answer import CountdownAnswer, Unreadable, read_answer
from boresight.tasks.countdown.problems import Problem, problem_of
from boresight.tasks.countdown.readings import public_reading, strict_reading
from boresight.tasks.countdown.scorer import CountdownScore, Mode, score
from boresight.tasks.reading import reads

RowColumns = Sequence[Mapping[str, Any]]

FORMAT_REWARD = 0.1

ARTEFACT = re.compile(
    r"</?(?:div|span|p|br|html|body|table|script|img|a|b|i|ul|li|h[1-6])\b[^<>]{0,80}>"
    r"|```|https?://|\bconfidence\s*:|\bas an ai\b|(.)\1{19}",
    re.IGNORECASE,
)
"""Pattern of artifacts of other tasks and of degenerate decoding.

These are HTML tags, code fences, links, stock phrases, and a character that is repeated 20 times.
"""
ARTEFACT_PENALTY, MAX_ARTEFACTS = 0.1, 3
FORM_CREDIT, OPERATOR_CREDIT, NUMBERS_CREDIT, NEAR_CREDIT = 0.1, 0.1, 0.2, 0.2
NEAR = 10
"""Minimum distance from the target at which a wrong value gets no credit for being near."""


@reads(strict_reading)
def plain(prompts: Sequence[Any], completions: Sequence[str], rows: RowColumns) -> list[float]:
    """1 for a correct answer, 0.1 for a wrong one of the right form, else 0; strict scoring."""
    return [
        1.0 if verdict.correct else FORMAT_REWARD * verdict.formatted
        for verdict in _scores(completions, rows, "strict")
    ]


@reads(strict_reading)
def correct(prompts: Sequence[Any], completions: Sequence[str], rows: RowColumns) -> list[float]:
    """1 for a correct answer, else 0; strict scoring."""
    return [verdict.reward for verdict in _scores(completions, rows, "strict")]


@reads(public_reading)
def compat(prompts: Sequence[Any], completions: Sequence[str], rows: RowColumns) -> list[float]:
    """The public 0 / 0.1 / 1 grader, faults included."""
    return [verdict.reward for verdict in _scores(completions, rows, "compat")]


@reads(strict_reading)
def shaped(prompts: Sequence[Any], completions: Sequence[str], rows: RowColumns) -> list[float]:
    """1 for a correct answer; for others partial credit, less a penalty for artifacts; from -0.3 to 1.

    The partial credit of an answer of the right form is the sum of 0.1 for the form, 0.1 for using an
    operator, 0.2 times the share of numbers that are used correctly, and up to 0.2 for a value near the
    target. Each of the first three artifacts costs 0.1, also in a completion with a correct answer.

    The reward follows a study whose RLOO run ended at a score of 0.12, below the 0.18 of its start, while the
    plain reward (with some thirty times the rollouts) took the same base model from 0.30 to 0.64 correct. It
    rewards wrong answers, so compare it with `plain` before using it.
    """
    pairs = zip(completions, map(_problem, rows), strict=True)
    return [_shaped(completion, problem) for completion, problem in pairs]


def _shaped(completion: str, problem: Problem) -> float:
    artefacts = min(MAX_ARTEFACTS, sum(1 for _ in ARTEFACT.finditer(completion)))
    penalty = ARTEFACT_PENALTY * artefacts
    if score(completion, problem.numbers, problem.target).correct:
        return 1.0 - penalty
    try:
        answer = read_answer(completion)
    except Unreadable:
        return -penalty
    return _partial_credit(answer, problem) - penalty


def _partial_credit(answer: CountdownAnswer, problem: Problem) -> float:
    credit = FORM_CREDIT
    if any(operator in answer.expression for operator in "+-*/"):
        credit += OPERATOR_CREDIT
    credit += NUMBERS_CREDIT * _share_used(answer.numbers, problem.numbers)
    if answer.value is not None:
        distance = float(min(Fraction(NEAR), abs(Fraction(answer.value) - problem.target)))
        credit += NEAR_CREDIT * (1 - distance / NEAR)
    return credit


def _share_used(used: Sequence[int], given: Sequence[int]) -> float:
    """Return the share of numbers that are used as often as given, among all numbers used or given."""
    left = list(given)
    for number in used:
        if number in left:
            left.remove(number)
    shared = len(given) - len(left)
    return shared / (len(used) + len(left))


def _scores(completions: Sequence[str], rows: RowColumns, mode: Mode) -> list[CountdownScore]:
    pairs = zip(completions, map(_problem, rows), strict=True)
    return [score(completion, problem.numbers, problem.target, mode) for completion, problem in pairs]


def _problem(row: Mapping[str, Any]) -> Problem:
    return problem_of(row, "reward")
