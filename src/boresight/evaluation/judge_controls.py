"""Sanity checks of a judge: controls with a known answer, reported next to every win rate.

- identical: an answer against itself must tie;
- truncated: a whole answer must beat its own first third;
- wrong prompt: an answer must beat one that was given to another prompt;
- repeated: the same request should get the same verdict;
- order: for judges of pairs, how often the winner changes with the order, and which slot it favors;
- people: agreement with human labels;
- raters: of recorded verdicts, which cannot be repeated, agreement of the raters with each other.

A failed control does not void a win rate, but limits what it means.
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
"""Answers with fewer words are not truncated: their first third may serve as well as the whole."""


@dataclass(frozen=True, slots=True)
class Control:
    """Share of right verdicts of the judge over planted cases, of which a prompt may have several."""

    name: str
    expected: str
    share: Interval
    cases: int

    @property
    def sentence(self) -> str:
        """The count as text, such as `48 of 50`."""
        right = round(self.share.value * self.cases)
        lost = f", {self.share.missing} failed" if self.share.missing else ""
        return f"{self.expected} in {right} of {self.cases} planted cases{lost}"


@dataclass(frozen=True, slots=True)
class OrderEffects:
    """Effects of the order of the answers. None if nothing was judged in both orders, or all were ties."""

    flips: Interval | None
    """Share of comparisons, judged in both orders, whose winner changed with the order."""
    comparisons: int
    """Comparisons that were judged in both orders."""
    first_slot: Interval | None
    """Of the verdicts that name a winner, the share that name the answer shown first; one half means no
    bias."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Results of the sanity checks of a judge; None for those that were not requested or not possible."""

    controls: tuple[Control, ...] = ()
    itself: Agreement | None = None
    order: OrderEffects | None = None
    people: PreferenceAgreement | None = None
    raters: RaterAgreement | None = None
    notes: tuple[str, ...] = ()
    """Checks that were requested and could not be run, and warnings about recorded verdicts."""

    def as_dict(self) -> dict[str, Any]:
        """The results as a dictionary, as in `evaluation.json`."""
        return asdict(self)

    @property
    def sentences(self) -> list[str]:
        """Warnings to read with the win rate."""
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
    """Compare cases whose right outcome is known by the judge, at most `most` of each kind.

    `answers[i]` is a real answer to `prompts[i]`; prompts without one are not used.
    """
    usable = [(p, text) for p, text in zip(prompts, answers, strict=True) if text and text.strip()]
    order = np.random.default_rng((seed, 7)).permutation(len(usable))
    drawn = [usable[i] for i in order]
    long = [(p, text) for p, text in drawn if len(text.split()) >= FEWEST_WORDS]
    # The prompt after this one in the drawn order lends its answer; equal answers would prove nothing.
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
    """The first third of an answer's words."""
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
    """Agreement of the judge with itself on repeated requests; None if no request was answered twice."""
    drawn = np.random.default_rng((seed, 11)).permutation(len(prompts))[:most]
    asked = [prompts[i] for i in drawn], [a[i] for i in drawn], [b[i] for i in drawn]
    first = [j.preference for j in judge.compare(*asked)]
    second = [j.preference for j in judge.compare(*asked, repeat=1)]
    if not any(x is not None and y is not None for x, y in zip(first, second, strict=True)):
        return None
    return agreement(first, second, list(map(prompt_key, asked[0])))


def order_effects(judgments: Sequence[Judgment], prompts: Sequence[Prompt]) -> OrderEffects | None:
    """Flips and the favored slot, from verdicts already given; None for judges that see no order.

    All verdicts on answers to one prompt are one unit of the intervals: they are not independent.
    """
    asked = zip(judgments, map(prompt_key, prompts), strict=True)
    shown = [(j.verdicts, prompt) for j, prompt in asked if j.verdicts]
    if not shown:
        return None
    both = [([v.preference for v in verdicts], prompt) for verdicts, prompt in shown if len(verdicts) == 2]
    # A tie in either order is no changed winner.
    flips = [(None if None in pair else float({0.0, 1.0} == set(pair)), prompt) for pair, prompt in both]
    slots = [(_names_first(verdict), prompt) for verdicts, prompt in shown for verdict in verdicts]
    return OrderEffects(
        flips=_by_prompt(flips),
        comparisons=sum(flip is not None for flip, _ in flips),
        first_slot=_by_prompt(slots),
    )


def _by_prompt(outcomes: Sequence[tuple[float | None, str]]) -> Interval | None:
    """The share over prompts, from each outcome and its prompt; None where all are missing."""
    if all(outcome is None for outcome, _ in outcomes):
        return None
    return clustered_share(grouped(*zip(*outcomes, strict=True)))


def human_agreement(judge: Judge, path: Path) -> PreferenceAgreement | None:
    """Agreement with a file of human verdicts, as the judge `recorded` reads them; of several raters, their
    majority.

    Raises:
        UserError: no such file, a missing column, or a value that is not a verdict.
    """
    prompts, a, b, labels = read_labels(path)
    found = judge.compare(prompts, a, b)
    sides = [None if j.preference is None else side_of(j.preference) for j in found]
    flipped = [j.flipped for j in found]
    return preference_agreement(sides, labels, flipped, list(map(prompt_key, prompts)))


def read_labels(path: Path) -> tuple[list[Prompt], list[str], list[str], list[float]]:
    """Prompts, both answers, and people's preferences (1: a, 0.5: a tie, 0: b)."""
    if not path.exists():
        raise UserError(f"trust.people: there is no file {path}; give a CSV of human labels.")
    rows = read_verdict_rows(path)
    labels = [side_of(mean_rating(row.ratings)) for row in rows]
    prompts = [Prompt(row.prompt, row.id) for row in rows]
    return prompts, [row.a for row in rows], [row.b for row in rows], labels


def _control(
    name: str, expected: str, judge: Judge, cases: Sequence[tuple[Prompt, str, str]], right: float
) -> Control | None:
    """How often the judge gives the right outcome; None without a single judged case."""
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
    """1 when the answer shown first won, 0 when the other did, None for a tie or no verdict."""
    if verdict.preference is None or verdict.preference == 0.5:
        return None
    return float((verdict.preference == 1.0) == (verdict.first == "a"))


def _share(interval: Interval, comparisons: int) -> str:
    """55 % [40, 70] of 48; where prompts have several comparisons, `of 96 comparisons on 48 prompts`."""
    shared = comparisons != interval.n
    on = f" comparisons on {plural(interval.n, 'prompt')}" if shared else ""
    return f"{_limits(interval)} of {comparisons:,}{on}"


def _limits(interval: Interval) -> str:
    """55 % [40, 70]."""
    low, high = round(100 * interval.low), round(100 * interval.high)
    return f"{round(100 * interval.value)} % [{low}, {high}]"
