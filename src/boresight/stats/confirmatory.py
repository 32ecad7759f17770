"""Decide a family of questions that were fixed before the data were seen.

    decisions = decide([Question("online against offline", difference, margin=0.05), …])

Each verdict is better, worse, equivalent, not worse or undecided. An undecided one comes with the numbers of
seeds and prompts that would decide it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.optimize import brentq
from scipy.stats import norm

from boresight.stats.intervals import SIGNIFICANCE_LEVEL, holm
from boresight.stats.pooled_seeds import PooledDifference

Asks = Literal["difference", "not worse"]
Conclusion = Literal["better", "worse", "equivalent", "not worse", "undecided"]

MOST_TIMES = 100
"""Maximum ratio of required to present seeds and prompts at which the required numbers are reported."""


@dataclass(frozen=True)
class Question:
    """The question whether b differs from a or, with `asks="not worse"`, is not worse than a by `margin`.

    `margin` has the unit of the values.
    """

    name: str
    difference: PooledDifference
    margin: float
    better: Literal["higher", "lower"] = "higher"
    asks: Asks = "difference"

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise ValueError(f"{self.name}: a margin is positive, got {self.margin}")

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return 1 if self.better == "higher" else -1

    @property
    def p(self) -> float:
        """Unadjusted p-value: two-sided test against a difference of zero or, for `not worse`, one-sided test
        against b being worse by the margin."""
        if self.asks == "difference":
            return self.difference.p
        above = self.difference.p_above(-self.margin)
        return above if self.sign > 0 else self.difference.p_below(self.margin)


@dataclass(frozen=True)
class EnoughData:
    """Numbers of seeds of a and of b, and of prompts, that would decide a question with 80 % power.

    `prompts` is None if a run gives one number instead of one per prompt.
    """

    seeds: tuple[int, int]
    prompts: int | None


@dataclass(frozen=True)
class Decision:
    """The verdict on a question, with its p-values after Holm's adjustment.

    `p_equivalent` is None for questions that ask whether b is not worse. `enough` is None unless the question
    is undecided and at most `MOST_TIMES` times the present data would decide it. `within_margin` is whether a
    significant difference is also smaller than the margin, by the tests of equivalence.
    """

    question: Question
    answer: Conclusion
    p: float
    p_equivalent: float | None
    enough: EnoughData | None = None
    within_margin: bool = False

    @property
    def verdict(self) -> str:
        """The answer as text, such as `worse` or `worse, within the margin`."""
        return f"{self.answer}, within the margin" if self.within_margin else self.answer


def decide(questions: Sequence[Question], level: float = SIGNIFICANCE_LEVEL) -> list[Decision]:
    """Decide a family of questions; return the verdicts in the order of the questions.

    The p-values of the questions are adjusted by Holm's method over all questions, and those of the tests of
    equivalence over all questions that ask for a difference. The probability of at least one false "better",
    "worse" or "not worse" is at most `level`, and so is that of at least one false "equivalent". A difference
    that is significant and smaller than the margin counts as better or worse, within the margin.
    """
    adjusted = holm([question.p for question in questions])
    asked = [question for question in questions if question.asks == "difference"]
    equivalent = iter(holm([question.difference.p_within(question.margin) for question in asked]))
    decisions = []
    for question, p in zip(questions, adjusted, strict=True):
        p_equivalent = next(equivalent) if question.asks == "difference" else None
        answer = _answer(question, p, p_equivalent, level)
        enough = enough_data(question, level / len(questions)) if answer == "undecided" else None
        shown = answer in ("better", "worse")
        within = shown and p_equivalent is not None and p_equivalent <= level
        decisions.append(Decision(question, answer, p, p_equivalent, enough, within))
    return decisions


def _answer(question: Question, p: float, p_equivalent: float | None, level: float) -> Conclusion:
    if p <= level and question.asks == "not worse":
        return "not worse"
    if p <= level:
        return "better" if question.sign * question.difference.center > 0 else "worse"
    return "equivalent" if p_equivalent is not None and p_equivalent <= level else "undecided"


def enough_data(
    question: Question, level: float = SIGNIFICANCE_LEVEL, power: float = 0.8
) -> EnoughData | None:
    """Estimate the seeds and prompts that would decide a question if the observed difference is the true one.

    k times as many seeds and prompts divide the variance by k. The necessary k is

        k = variance · ((z(1 - level/2) + z(power)) / |d|)²         to show a difference d
        k = variance · ((z(1 - level) + z(power)) / (margin + d))²  to show that b is not worse by the margin

    and variance · `_inverse_error_within`² to show that the difference is within the margin. If a question
    can be decided in two ways, the smaller k counts. The result is None if k is more than `MOST_TIMES`, or if
    the variance is unknown.
    """
    difference, margin = question.difference, question.margin
    seen, beyond = question.sign * difference.center, float(norm.ppf(power))
    one_sided, two_sided = (float(norm.ppf(1 - each)) + beyond for each in (level, level / 2))
    ways = []
    if question.asks == "not worse":
        ways += [one_sided / (margin + seen)] if margin + seen > 0 else []
    else:
        ways += [_inverse_error_within(margin, seen, level, power)] if abs(seen) < margin else []
        ways += [two_sided / abs(seen)] if seen != 0 else []
    times = difference.variance * min(ways) ** 2 if ways else math.inf
    if not times <= MOST_TIMES:
        return None
    times = max(times, 1.0)
    (first, second), n = difference.seeds, difference.mean.n
    seeds = math.ceil(first * times), math.ceil(second * times)
    return EnoughData(seeds, max(n + 1, math.ceil(n * times)) if n > 1 else None)


def _inverse_error_within(margin: float, seen: float, level: float, power: float) -> float:
    """Return 1 / standard error at which a true difference `seen` is shown to be within the margin.

    Two one-sided tests (Schuirmann 1987) both have to reject. Their joint power at x = 1 / standard error is

        Φ((margin - d)·x - z) + Φ((margin + d)·x - z) - 1 = power,  z = z(1 - level)

    At d = 0 either test may fail, so that more data are needed than for one test of this power.
    """
    z, room = float(norm.ppf(1 - level)), margin - abs(seen)

    def missing(x: float) -> float:
        near, far = (float(norm.cdf(bound * x - z)) for bound in (room, margin + abs(seen)))
        return power - (near + far - 1)

    enough = (z + float(norm.ppf((1 + power) / 2))) / room  # each test may fail half as often as the pair
    return float(brentq(missing, 0.0, 2 * enough))
