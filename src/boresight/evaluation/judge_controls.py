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
from boresight.scorers.judges.base import Judge, Judgment, Verdict
from boresight.scorers.judges.verdict_rows import read_verdict_rows
from boresight.stats.agreement import (
    Agreement,
    PreferenceAgreement,
    RaterAgreement,
    agreement,
    preference_agreement,
)
from boresight.stats.intervals import Interval, clustered_share, share_interval

FEWEST_WORDS = 12
"""Answers with fewer words are not truncated: their first third may serve as well as the whole."""


@dataclass(frozen=True, slots=True)
class Control:
    """Share of right verdicts of the judge, over `share.n` planted cases."""

    name: str
    expected: str
    share: Interval

    @property
    def sentence(self) -> str:
        """The count as text, such as `48 of 50`."""
        right = round(self.share.value * self.share.n)
        lost = f", {self.share.missing} failed" if self.share.missing else ""
        return f"{self.expected} in {right} of {self.share.n} planted cases{lost}"


@dataclass(frozen=True, slots=True)
class OrderEffects:
    """Effects of the order of the answers. None if nothing was judged in both orders, or all were ties."""

    flips: Interval | None
    """Share of pairs, judged in both orders, whose winner changed with the order."""
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
            said.append(f"Asked again, the judge returns the same verdict in {_share(self.itself.accuracy)}.")
        if self.order and self.order.flips:
            said.append(f"Its winner changes with the order of the answers in {_share(self.order.flips)}.")
        if self.order and self.order.first_slot:
            said.append(f"Of its verdicts, the answer shown first gets {_share(self.order.first_slot)}.")
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
        Control(name, expected, share)
        for name, expected, right, planted in cases
        if (share := _share_right(judge, planted[:most], right)) is not None
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
    return _agreement(judge.compare(*asked), [j.preference for j in judge.compare(*asked, repeat=1)])


def order_effects(judgments: Sequence[Judgment]) -> OrderEffects | None:
    """Flips and the favored slot, from verdicts already given; None for judges that see no order.

    The favored slot is a mean over pairs, since the two verdicts on a pair are not independent.
    """
    shown = [j.verdicts for j in judgments if j.verdicts]
    if not shown:
        return None
    both = [[v.preference for v in verdicts] for verdicts in shown if len(verdicts) == 2]
    # A tie in either order is no changed winner.
    flips = [None if None in pair else float({0.0, 1.0} == set(pair)) for pair in both]
    slots = [[_names_first(v) for v in verdicts] for verdicts in shown]
    named = any(slot is not None for group in slots for slot in group)
    return OrderEffects(
        flips=share_interval(flips) if any(f is not None for f in flips) else None,
        first_slot=clustered_share(slots) if named else None,
    )


def human_agreement(judge: Judge, path: Path) -> PreferenceAgreement | None:
    """Agreement with a file of human verdicts, as the judge `recorded` reads them; of several raters, their
    majority.

    Raises:
        UserError: no such file, a missing column, or a value that is not a verdict.
    """
    prompts, a, b, labels = read_labels(path)
    found = judge.compare(prompts, a, b)
    sides = [None if j.preference is None else side_of(j.preference) for j in found]
    return preference_agreement(sides, labels, [j.flipped for j in found])


def read_labels(path: Path) -> tuple[list[Prompt], list[str], list[str], list[float]]:
    """Prompts, both answers, and people's preferences (1: a, 0.5: a tie, 0: b)."""
    if not path.exists():
        raise UserError(f"trust.people: there is no file {path}; give a CSV of human labels.")
    rows = read_verdict_rows(path)
    labels = [side_of(mean_rating(row.ratings)) for row in rows]
    prompts = [Prompt(row.prompt, row.id) for row in rows]
    return prompts, [row.a for row in rows], [row.b for row in rows], labels


def _share_right(judge: Judge, cases: Sequence[tuple[Prompt, str, str]], right: float) -> Interval | None:
    """How often the judge gives the right outcome; None without a single judged case."""
    if not cases:
        return None
    prompts, a, b = zip(*cases, strict=True)
    found = judge.compare(prompts, a, b)
    outcomes = [None if j.preference is None else float(j.preference == right) for j in found]
    return share_interval(outcomes) if any(o is not None for o in outcomes) else None


def _agreement(judgments: Sequence[Judgment], others: Sequence[float | None]) -> Agreement | None:
    ours = [j.preference for j in judgments]
    if not any(x is not None and y is not None for x, y in zip(ours, others, strict=True)):
        return None
    return agreement(ours, others)


def _with_people(found: PreferenceAgreement) -> str:
    kappa = "" if found.kappa is None else f", Cohen's kappa over both orders {found.kappa:.2f}"
    apart = (
        f"; it contradicts them in {found.contradictions:,}, and {found.ties:,} are a tie to one side only"
    )
    flips = f"; in {found.flips:,} more its winner changes with the order" if found.flips else ""
    return f"It agrees with people in {_share(found.accuracy)}{kappa}{apart}{flips}."


def _among_raters(found: RaterAgreement) -> str:
    alpha = "" if found.alpha is None else f", Krippendorff's alpha over both orders {found.alpha:.2f}"
    several = f"{plural(found.comparisons, 'comparison')} with several raters"
    return f"Two of its raters agree in {_share(found.accuracy)} prompts ({several}){alpha}."


def _names_first(verdict: Verdict) -> float | None:
    """1 when the answer shown first won, 0 when the other did, None for a tie or no verdict."""
    if verdict.preference is None or verdict.preference == 0.5:
        return None
    return float((verdict.preference == 1.0) == (verdict.first == "a"))


def _share(interval: Interval) -> str:
    """55 % [40, 70] of 48."""
    low, high = round(100 * interval.low), round(100 * interval.high)
    return f"{round(100 * interval.value)} % [{low}, {high}] of {interval.n:,}"
