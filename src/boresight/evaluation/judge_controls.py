"""Run sanity checks of a judge, which are reported next to every win rate.

- identical: an answer compared with itself must be a tie;
- truncated: the judge must prefer a complete answer over its own first third;
- wrong prompt: the judge must prefer an answer to the prompt over an answer to another prompt;
- repeated: the same request should get the same verdict;
- order: for judges that see both answers, how often the winner changes with their order, and how often the
  answer shown first wins;
- people: agreement with human labels;
- raters: agreement of the raters with each other, for recorded verdicts, which cannot be repeated.

A failed check does not invalidate a win rate, but limits its interpretation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.core.wording import plural
from boresight.data.layouts.verdicts import mean_rating, side_of
from boresight.data.reading.same_prompt import prompt_key
from boresight.scorers.judges.base import Judge, Judgment, Verdict
from boresight.scorers.judges.verdict_rows import read_verdict_rows
from boresight.stats.agreement import (
    Agreement,
    PreferenceAgreement,
    RaterAgreement,
    agreement,
    preference_agreement,
)
from boresight.stats.intervals import Interval, clustered_share, grouped

FEWEST_WORDS = 12
"""Minimum number of words of an answer that is truncated; of a shorter one, a third may be as good."""


@dataclass(frozen=True, slots=True)
class Control:
    """Result of one kind of planted case: comparisons whose correct verdict is known.

    Attributes:
        expected: the correct verdict as text, such as "calls an answer and itself a tie".
        share: share of correct verdicts, clustered by prompt.
        cases: number of cases that the judge judged without a failure.
    """

    name: str
    expected: str
    share: Interval
    cases: int

    @property
    def sentence(self) -> str:
        """The result as text, such as `calls an answer and itself a tie in 48 of 50 planted cases`."""
        right = round(self.share.value * self.cases)
        lost = f", {self.share.missing} failed" if self.share.missing else ""
        return f"{self.expected} in {right} of {self.cases} planted cases{lost}"


@dataclass(frozen=True, slots=True)
class OrderEffects:
    """Effects of the order in which a judge is shown the two answers."""

    flips: Interval | None
    """Share of comparisons whose winner changed with the order; None if none was judged in both orders."""
    comparisons: int
    """Number of comparisons that were judged in both orders."""
    first_slot: Interval | None
    """Share of verdicts for the answer shown first, among those with a winner; one half means no bias.

    None if no verdict has a winner.
    """


@dataclass(frozen=True, slots=True)
class Trust:
    """Results of the sanity checks of a judge; None for checks that were not requested or not possible.

    Attributes:
        controls: results on planted cases.
        itself: agreement of the judge with itself on repeated requests.
        order: effects of the order of the answers.
        people: agreement with human labels.
        raters: agreement of the raters of recorded verdicts with each other.
    """

    controls: tuple[Control, ...] = ()
    itself: Agreement | None = None
    order: OrderEffects | None = None
    people: PreferenceAgreement | None = None
    raters: RaterAgreement | None = None
    notes: tuple[str, ...] = ()
    """Sentences about requested checks that could not be run, and warnings about recorded verdicts."""

    def as_dict(self) -> dict[str, Any]:
        """Return the results as a dictionary, as in `evaluation.json`."""
        return asdict(self)

    @property
    def sentences(self) -> list[str]:
        """One sentence per result, followed by the notes, to be shown with the win rate."""
        said = [control.sentence[0].upper() + control.sentence[1:] + "." for control in self.controls]
        if self.itself is not None:
            same = _share(self.itself.accuracy, self.itself.comparisons)
            said.append(f"Asked again, the judge returns the same verdict in {same}.")
        if self.order and self.order.flips:
            flips = _share(self.order.flips, self.order.comparisons)
            said.append(f"Its winner changes with the order of the answers in {flips}.")
        if self.order and self.order.first_slot:
            slot, asked = _limits(self.order.first_slot), plural(self.order.first_slot.n, "prompt")
            said.append(f"The answer shown first gets {slot} of its verdicts on {asked}.")
        if self.people is not None:
            said.append(_with_people(self.people))
        if self.raters is not None:
            said.append(_among_raters(self.raters))
        return [*said, *self.notes]


def planted_controls(
    judge: Judge, prompts: Sequence[Prompt], answers: Sequence[str | None], most: int = 50, seed: int = 0
) -> tuple[Control, ...]:
    """Let a judge compare planted cases, whose correct verdicts are known.

    Args:
        answers: `answers[i]` is a real answer to `prompts[i]`; prompts without an answer are not used.
        most: maximum number of cases of each kind.
        seed: seed for the order in which prompts are used.

    Returns:
        One result per kind; kinds without a judged case are omitted.
    """
    usable = [(p, text) for p, text in zip(prompts, answers, strict=True) if text and text.strip()]
    order = np.random.default_rng((seed, 7)).permutation(len(usable))
    drawn = [usable[i] for i in order]
    long = [(p, text) for p, text in drawn if len(text.split()) >= FEWEST_WORDS]
    # The wrong answer is that of the next prompt in the random order; equal answers would test nothing.
    lent = [
        (p, text, other)
        for (p, text), (q, other) in zip(drawn, [*drawn[1:], *drawn[:1]], strict=True)
        if other != text and q.prompt != p.prompt
    ]
    cases = [
        ("identical", "calls an answer and itself a tie", 0.5, [(p, t, t) for p, t in drawn]),
        (
            "truncated",
            "prefers a whole answer to its first third",
            1.0,
            [(p, t, first_third(t)) for p, t in long],
        ),
        ("wrong prompt", "prefers an answer to one given to another prompt", 1.0, lent),
    ]
    return tuple(
        control
        for name, expected, right, planted in cases
        if (control := _control(name, expected, judge, planted[:most], right)) is not None
    )


def first_third(text: str) -> str:
    """Return the first third of the words of an answer, at least one word."""
    words = text.split()
    return " ".join(words[: max(1, len(words) // 3)])


def self_agreement(
    judge: Judge,
    prompts: Sequence[Prompt],
    a: Sequence[str | None],
    b: Sequence[str | None],
    most: int = 50,
    seed: int = 0,
) -> Agreement | None:
    """Compute the agreement of the judge with itself on repeated requests.

    At most `most` prompts, drawn with `seed`, are judged twice. The result is None if no comparison has two
    verdicts.
    """
    drawn = np.random.default_rng((seed, 11)).permutation(len(prompts))[:most]
    asked = [prompts[i] for i in drawn], [a[i] for i in drawn], [b[i] for i in drawn]
    first = [j.preference for j in judge.compare(*asked)]
    second = [j.preference for j in judge.compare(*asked, repeat=1)]
    if not any(x is not None and y is not None for x, y in zip(first, second, strict=True)):
        return None
    return agreement(first, second, list(map(prompt_key, asked[0])))


def order_effects(judgments: Sequence[Judgment], prompts: Sequence[Prompt]) -> OrderEffects | None:
    """Compute the effects of the order of the answers from existing verdicts.

    All verdicts on answers to the same prompt are one unit of the intervals, since they are not independent.
    The result is None for judges that score each answer on its own, so that there is no order.
    """
    asked = zip(judgments, map(prompt_key, prompts), strict=True)
    shown = [(j.verdicts, prompt) for j, prompt in asked if j.verdicts]
    if not shown:
        return None
    both = [([v.preference for v in verdicts], prompt) for verdicts, prompt in shown if len(verdicts) == 2]
    # A tie in one of the orders does not count as a changed winner.
    flips = [(None if None in pair else float({0.0, 1.0} == set(pair)), prompt) for pair, prompt in both]
    slots = [(_names_first(verdict), prompt) for verdicts, prompt in shown for verdict in verdicts]
    return OrderEffects(
        flips=_by_prompt(flips),
        comparisons=sum(flip is not None for flip, _ in flips),
        first_slot=_by_prompt(slots),
    )


def _by_prompt(outcomes: Sequence[tuple[float | None, str]]) -> Interval | None:
    """Return the mean of `(outcome, prompt)` pairs, clustered by prompt; None if all outcomes are missing."""
    if all(outcome is None for outcome, _ in outcomes):
        return None
    return clustered_share(grouped(*zip(*outcomes, strict=True)))


def human_agreement(judge: Judge, path: Path) -> PreferenceAgreement | None:
    """Compute the agreement of a judge with a file of human verdicts.

    The file has the form that the judge `recorded` reads. For several raters, the answer with the higher mean
    preference counts. The result is None if no comparison has both a label and a preference of the judge.

    Raises:
        UserError: no such file, a missing column, or a value that is not a verdict.
    """
    prompts, a, b, labels = read_labels(path)
    found = judge.compare(prompts, a, b)
    sides = [None if j.preference is None else side_of(j.preference) for j in found]
    flipped = [j.flipped for j in found]
    return preference_agreement(sides, labels, flipped, list(map(prompt_key, prompts)))


def read_labels(path: Path) -> tuple[list[Prompt], list[str], list[str], list[float]]:
    """Read human labels: prompts, answers a, answers b, and preferences (1: a, 0.5: a tie, 0: b)."""
    if not path.exists():
        raise UserError(f"trust.people: there is no file {path}; give a CSV of human labels.")
    rows = read_verdict_rows(path)
    labels = [side_of(mean_rating(row.ratings)) for row in rows]
    prompts = [Prompt(row.prompt, row.id) for row in rows]
    return prompts, [row.a for row in rows], [row.b for row in rows], labels


def _control(
    name: str, expected: str, judge: Judge, cases: Sequence[tuple[Prompt, str, str]], right: float
) -> Control | None:
    """Let the judge compare planted cases, whose correct preference is `right`; None if none was judged."""
    if not cases:
        return None
    prompts, a, b = zip(*cases, strict=True)
    found = judge.compare(prompts, a, b)
    outcomes = [None if j.preference is None else float(j.preference == right) for j in found]
    share = _by_prompt(list(zip(outcomes, map(prompt_key, prompts), strict=True)))
    judged = sum(outcome is not None for outcome in outcomes)
    return None if share is None else Control(name, expected, share, judged)


def _with_people(found: PreferenceAgreement) -> str:
    kappa = "" if found.kappa is None else f", Cohen's kappa over both orders {found.kappa:.2f}"
    apart = (
        f"; it contradicts them in {found.contradictions:,}, and {found.ties:,} are a tie to one side only"
    )
    flips = f"; in {found.flips:,} more its winner changes with the order" if found.flips else ""
    agrees = _share(found.accuracy, found.comparisons)
    return f"It agrees with people in {agrees}{kappa}{apart}{flips}."


def _among_raters(found: RaterAgreement) -> str:
    alpha = "" if found.alpha is None else f", Krippendorff's alpha over both orders {found.alpha:.2f}"
    several = f"{plural(found.comparisons, 'comparison')} with several raters"
    share, prompts = _limits(found.accuracy), plural(found.accuracy.n, "prompt")
    return f"Two of its raters agree in {share} of {prompts} ({several}){alpha}."


def _names_first(verdict: Verdict) -> float | None:
    """Return 1 if the answer shown first won, 0 if the other one won, None for a tie or without a verdict."""
    if verdict.preference is None or verdict.preference == 0.5:
        return None
    return float((verdict.preference == 1.0) == (verdict.first == "a"))


def _share(interval: Interval, comparisons: int) -> str:
    """Format a share with its limits and its n, such as `55 % [40, 70] of 48`.

    If there are more comparisons than prompts, n is written as `96 comparisons on 48 prompts`.
    """
    shared = comparisons != interval.n
    on = f" comparisons on {plural(interval.n, 'prompt')}" if shared else ""
    return f"{_limits(interval)} of {comparisons:,}{on}"


def _limits(interval: Interval) -> str:
    """Format a share with its limits, such as `55 % [40, 70]`."""
    low, high = round(100 * interval.low), round(100 * interval.high)
    return f"{round(100 * interval.value)} % [{low}, {high}]"
