"""Compare systems by win rate, paired by prompt. Ties count one half, failed judgments are missing.

    found = win_rate(prompts, reference, candidate, judge)     # two systems
    table = tournament(prompts, systems, judge)                # several systems: every pair, and a ranking

Scores of a judge are comparable only within a prompt, so they are not averaged: for each prompt, one answer
wins or both tie. Besides the raw win rate, the win rate at equal answer lengths and a split by length are
reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.reading.same_prompt import prompt_key
from boresight.evaluation.answer_controls import AnswerControls, answer_controls
from boresight.scorers.judges.base import Judge, Judgment
from boresight.stats.intervals import Interval, Value, clustered_share, grouped, holm, sign_test
from boresight.stats.length import (
    LengthControlled,
    LengthSplit,
    length_controlled_win_rate,
    length_matched_split,
)
from boresight.stats.ranking import Game, Ranking, bradley_terry
from boresight.stats.units import unit_named
from boresight.stats.verdict import after_holm, verdict

MOST_MISSING = 0.1
"""Maximum share of missing judgments for a verdict, since judgments are rarely missing at random."""


@dataclass(frozen=True, slots=True)
class System:
    """A system with its answers.

    Attributes:
        answers: answer to each prompt, by prompt id; None if it is missing.
        cut_at: number of tokens of each answer that the token limit cut, by prompt id.
    """

    name: str
    answers: Mapping[str, str | None]
    cut_at: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptComparison:
    """One prompt with both answers and the judgment (preference 1: the candidate's answer is better)."""

    prompt: Prompt
    reference: str | None
    candidate: str | None
    judgment: Judgment
    cut_at: tuple[int | None, int | None] = (None, None)
    """Numbers of tokens after which the reference's and the candidate's answer were cut; None if not cut."""

    @property
    def outcome(self) -> str:
        """Outcome for the candidate: `won`, `tied`, `lost`, or `failed` for a missing judgment.

        With several raters, it is won if their mean preference is above one half.
        """
        preference = self.judgment.preference
        if preference is None:
            return "failed"
        return "tied" if preference == 0.5 else "won" if preference > 0.5 else "lost"

    @property
    def flipped(self) -> bool:
        """Whether the judge's winner changed with the order of the answers."""
        return self.judgment.flipped

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as a dictionary, which is one line of `comparisons.jsonl`."""
        judgment = {k: v for k, v in asdict(self.judgment).items() if v not in (None, "", ())}
        return {
            "id": self.prompt.id,
            "prompt": self.prompt.prompt,
            "reference": self.reference,
            "candidate": self.candidate,
            "outcome": self.outcome,
            "flipped": self.flipped,
            **judgment,
        }


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often `candidate` beats `reference` according to `judge`.

    Attributes:
        rate: win rate of the candidate; a tie counts one half.
        p: p-value of the exact sign test, which ignores ties.
        controlled: win rate at equal answer lengths; None if it cannot be computed.
        split: win rates on prompts where the candidate's answer is shorter, about as long, or longer.
    """

    reference: str
    candidate: str
    judge: str
    rate: Interval
    p: float
    controlled: LengthControlled | None
    uncontrolled: str
    """Reason why `controlled` is None; '' if it is not."""
    split: LengthSplit
    comparisons: tuple[PromptComparison, ...]
    controls: Mapping[str, AnswerControls]
    """Checks for repeated and copied answers, by the name of the system."""

    @property
    def cautions(self) -> list[str]:
        """Warnings about repeated or copied answers, to be shown with the verdict."""
        said = (self.controls[name].caution(name) for name in (self.candidate, self.reference))
        return [sentence for sentence in said if sentence]

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of comparisons `won`, `tied`, `lost` and `failed`."""
        found = Counter(c.outcome for c in self.comparisons)
        return {outcome: found[outcome] for outcome in ("won", "tied", "lost", "failed")}

    @property
    def failures(self) -> dict[str, int]:
        """Number of missing judgments for each reason, the most frequent reason first."""
        kinds = (c.judgment.failure.split(":")[0] for c in self.comparisons if c.outcome == "failed")
        return dict(Counter(kinds).most_common())

    @property
    def has_verdict(self) -> bool:
        """Whether there are enough judgments for a verdict."""
        return self.rate.missing <= MOST_MISSING * len(self.comparisons)

    @property
    def verdict(self) -> str:
        """The verdict as one sentence, followed by warnings about the answers."""
        return " ".join([self.compared, *self.cautions])

    @property
    def compared(self) -> str:
        """The verdict as one sentence, or the statement that too many judgments are missing for a verdict."""
        n, missing = len(self.comparisons), self.rate.missing
        if not self.has_verdict:
            reason = next(iter(self.failures))
            return (
                f"No verdict on {self.candidate} against {self.reference}: {missing:,} of {n:,} judgments "
                f"are missing, most often because: {reason}."
            )
        even = None if self.controlled is None else _over_even(self.controlled.at_equal_length)
        return verdict(
            _over_even(self.rate), self.reference, self.candidate, unit="share", length_controlled=even
        )

    @property
    def rate_in_words(self) -> str:
        """A sentence with the win rate; the verdict reports its difference from 50 %."""
        rate = unit_named("share").value(self.rate.value)
        return f"{self.candidate} wins {rate} of prompts against {self.reference} (ties half, even is 50 %)."

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict and the numbers as a dictionary, without prompts and answers."""
        return {
            "reference": self.reference,
            "candidate": self.candidate,
            "judge": self.judge,
            "verdict": self.verdict,
            "win_rate": self.rate.as_dict(),
            "sign_test_p": self.p,
            **self.counts,
            "failures": self.failures,
            "length_controlled": None if self.controlled is None else asdict(self.controlled),
            "not_length_controlled_because": self.uncontrolled or None,
            "by_length": asdict(self.split),
            "answers": {name: found.as_dict() for name, found in self.controls.items()},
        }


def win_rate(prompts: Sequence[Prompt], reference: System, candidate: System, judge: Judge) -> WinRate:
    """Judge both systems' answers to every prompt, and compute the win rate of the candidate.

    A prompt may occur several times with other ids and answers; its outcomes are one unit in every interval
    and in the sign test. Answer lengths are in characters.

    Raises:
        UserError: there are no prompts, or all judgments failed.
    """
    if not prompts:
        raise UserError("win rate: there are no prompts; give a file with some.")
    theirs, ours = ([system.answers.get(p.id) for p in prompts] for system in (reference, candidate))
    judgments = judge.compare(prompts, ours, theirs)
    outcomes = [j.preference for j in judgments]
    if not any(o is not None for o in outcomes):
        raise UserError(
            f"win rate: all {len(prompts):,} judgments of {candidate.name} against {reference.name} failed, "
            f"the first because: {judgments[0].failure}."
        )
    lengths = [len(text or "") for text in ours], [len(text or "") for text in theirs]
    keys = list(map(prompt_key, prompts))
    by_prompt = grouped(outcomes, keys)
    try:
        controlled, refusal = length_controlled_win_rate(outcomes, *lengths, keys), ""
    except UserError as error:
        controlled, refusal = None, str(error)
    ends = [(reference.cut_at.get(p.id), candidate.cut_at.get(p.id)) for p in prompts]
    rows = zip(prompts, theirs, ours, judgments, ends, strict=True)
    return WinRate(
        reference=reference.name,
        candidate=candidate.name,
        judge=judge.name,
        rate=clustered_share(by_prompt),
        p=_sign_test_of_prompts(by_prompt),
        controlled=controlled,
        uncontrolled=refusal,
        split=length_matched_split(outcomes, *lengths, prompts=keys),
        comparisons=tuple(PromptComparison(*row) for row in rows),
        controls={
            system.name: found
            for system, answers in ((reference, theirs), (candidate, ours))
            if (found := answer_controls(prompts, answers)) is not None
        },
    )


@dataclass(frozen=True, slots=True)
class Tournament:
    """Comparisons of every pair of systems on the same prompts.

    Attributes:
        adjusted_p: p-value of each pair, adjusted by Holm's method.
        ranking: ranking of all systems; None for two systems, or if it cannot be computed.
    """

    pairs: tuple[WinRate, ...]
    adjusted_p: tuple[float, ...]
    ranking: Ranking | None
    unranked: str
    """Reason why the ranking could not be computed; '' otherwise."""

    @property
    def verdicts(self) -> list[str]:
        """Verdict and warnings for each pair of systems."""
        if len(self.pairs) == 1:
            return [self.pairs[0].verdict]
        return [
            " ".join([_adjusted(pair, p), *pair.cautions])
            for pair, p in zip(self.pairs, self.adjusted_p, strict=True)
        ]

    @property
    def distinct_answers(self) -> str:
        """Number of distinct answers per system, such as `Distinct answers: new 1 of 805, old 805 of 805.`"""
        controls = {name: found for pair in self.pairs for name, found in pair.controls.items()}
        counts = (f"{name} {c.distinct:,} of {c.repeated.n:,}" for name, c in controls.items())
        return f"Distinct answers: {', '.join(counts)}."

    def as_dict(self) -> dict[str, Any]:
        """Return all pairs and the ranking as a dictionary, without prompts and answers."""
        return {
            "pairs": [
                p.as_dict() | {"adjusted_p": q} for p, q in zip(self.pairs, self.adjusted_p, strict=True)
            ],
            "ranking": None if self.ranking is None else asdict(self.ranking),
            "not_ranked_because": self.unranked or None,
        }


def tournament(prompts: Sequence[Prompt], systems: Sequence[System], judge: Judge) -> Tournament:
    """Compare every two systems directly; with three or more, also rank them by Bradley and Terry with ties.

    A direct comparison of two systems has more power than their win rates against a third system: with the
    same number of judge calls, it uses every prompt on which the two differ.
    """
    pairs = tuple(win_rate(prompts, a, b, judge) for a, b in combinations(systems, 2))
    ranking, reason = None, ""
    if len(systems) > 2:
        try:
            ranking = bradley_terry([game for pair in pairs for game in _games(pair)])
        except UserError as error:
            reason = str(error)
    return Tournament(pairs, tuple(holm([pair.p for pair in pairs])), ranking, reason)


def _sign_test_of_prompts(outcomes: Sequence[Sequence[Value]]) -> float:
    """Return the p-value of the sign test over prompts.

    A prompt with several outcomes is won if more of them are won than lost.
    """
    leads = [sum(o - 0.5 for o in of_prompt if o is not None) for of_prompt in outcomes]
    return sign_test(sum(lead > 0 for lead in leads), sum(lead < 0 for lead in leads))


def _games(pair: WinRate) -> list[Game]:
    sides = pair.candidate, pair.reference
    return [Game(prompt_key(c.prompt), *sides, c.judgment.preference) for c in pair.comparisons]


def _adjusted(pair: WinRate, p: float) -> str:
    return (
        after_holm(pair.compared, p, _over_even(pair.rate).excludes_zero)
        if pair.has_verdict
        else pair.compared
    )


def _over_even(rate: Interval) -> Interval:
    """Return the difference between a win rate and one half."""
    return rate.transformed(lambda share: share - 0.5)
