"""Recorded verdicts, by people or by another judge, as the judge of a win rate.

The file contains verdicts on two answers (`boresight.data.layouts.verdicts`), or preference pairs of any
layout, in which the chosen answer won; a folder of an arena contains its votes and its ties. A verdict
belongs to a prompt and two texts, in either order.

The verdicts of several raters on one comparison are averaged; the column `rater` names the rater of a row.
Two rows without a rater, or of the same rater, are one verdict; if they differ, neither counts.

A comparison without a verdict is missing. It is never a tie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boresight.core.schema import Prompt
from boresight.core.wording import plural
from boresight.data.layouts import verdicts
from boresight.data.layouts.verdicts import Ratings
from boresight.data.reading.same_prompt import prompt_key
from boresight.scorers.judges.base import NO_ANSWER, Answers, JudgeConfig, Judgment
from boresight.scorers.judges.verdict_rows import VerdictRow, read_verdict_rows
from boresight.stats.agreement import RaterAgreement, rater_agreement

NOT_RECORDED = "no recorded verdict"
CONTRADICTION = "contradicting verdicts"

Compared = tuple[str, str, str]
"""Key of a comparison: the prompt's key and the two answers, sorted by their text."""


class Config(JudgeConfig):
    """Settings of the judge: the file with the verdicts."""

    file: str
    """A file of `prompt`, two answers (`completion_a`, `completion_b`) and `preference`, `winner` or `votes`,
    with `rater` where there are several; or preference pairs; or the folder of an arena."""


def build(config: Config, completer: object = None, console: object = None) -> RecordedJudge:
    """Read the file and build the judge.

    Raises:
        UserError: the file or a row cannot be read.
    """
    return RecordedJudge(config.file)


@dataclass(slots=True)
class _Comparison:
    """All verdicts on one comparison, as shares of the answer whose text is first in sort order."""

    prompt: str
    ratings: Ratings = field(default_factory=Counter)
    contradicting: tuple[int, int] | None = None
    """Row numbers of two verdicts by one rater that contradict each other."""


class RecordedJudge:
    """Judge that compares answers by the verdicts in a file."""

    def __init__(self, source: str | Path) -> None:
        """Read the verdicts.

        Raises:
            UserError: as `build` does.
        """
        self.name = f"recorded verdicts of {source}"
        self.source = str(source)
        self._repeats = 0
        self._used: set[Compared] = set()
        self._comparisons: dict[Compared, _Comparison] = {}
        given: dict[tuple[Compared, str | None], tuple[int, Ratings]] = {}
        for verdict in read_verdict_rows(source):
            self._add(verdict, given)
        for (compared, _), (_, ratings) in given.items():
            self._comparisons[compared].ratings += ratings

    def compare(self, prompts: Sequence[Prompt], a: Answers, b: Answers, repeat: int = 0) -> list[Judgment]:
        """Return the recorded preference for each `a[i]` over `b[i]`, in [0, 1].

        It is missing if the file has none, whatever `repeat` is.
        """
        return [self._judge(prompt, x, y) for prompt, x, y in zip(prompts, a, b, strict=True)]

    @property
    def raters(self) -> RaterAgreement | None:
        """Agreement between raters; None if no comparison has two raters."""
        rated = [(c.prompt, _sides(c.ratings)) for c in self._comparisons.values()]
        return rater_agreement([sides for _, sides in rated], [prompt for prompt, _ in rated])

    @property
    def notes(self) -> list[str]:
        """Warnings about the file: contradictions, repeated rows and unused verdicts."""
        rows = [c.contradicting for c in self._comparisons.values() if c.contradicting]
        unused = len(self._comparisons.keys() - self._used)
        notes = []
        if rows:
            notes.append(
                f"On {plural(len(rows), 'comparison')}, two verdicts of one rater contradict each other and "
                f"do not count; the first are rows {rows[0][0]:,} and {rows[0][1]:,} of {self.source}."
            )
        if self._repeats:
            said = "row repeats" if self._repeats == 1 else "rows repeat"
            notes.append(f"{self._repeats:,} {said} an earlier verdict of one rater; each counts once.")
        if unused:
            total = plural(len(self._comparisons), "comparison")
            notes.append(f"Of {total} in {self.source}, {unused:,} are not of these answers.")
        return notes

    def _add(
        self, verdict: VerdictRow, given: dict[tuple[Compared, str | None], tuple[int, Ratings]]
    ) -> None:
        asked = prompt_key(Prompt(verdict.prompt, verdict.id))
        compared, swapped = _compared(asked, verdict.a, verdict.b)
        row, ratings = verdict.row, _mirrored(verdict.ratings) if swapped else verdict.ratings
        comparison = self._comparisons.setdefault(compared, _Comparison(asked))
        key = compared, verdict.rater
        if key not in given:
            given[key] = row, ratings
            return
        before, earlier = given[key]
        if earlier == ratings:
            self._repeats += 1
        elif earlier:  # if three rows differ, the first two are reported
            comparison.contradicting = comparison.contradicting or (before, row)
            given[key] = (before, Counter())

    def _judge(self, prompt: Prompt, a: str | None, b: str | None) -> Judgment:
        if a is None or b is None:
            return Judgment(None, failure=NO_ANSWER)
        compared, swapped = _compared(prompt_key(prompt), a, b)
        found = self._comparisons.get(compared)
        if found is None:
            return Judgment(None, failure=f"{NOT_RECORDED}: none in {self.source}")
        self._used.add(compared)
        if not found.ratings:
            rows = "rows {:,} and {:,} of one rater".format(*(found.contradicting or (0, 0)))
            return Judgment(None, failure=f"{CONTRADICTION}: {rows}")
        ratings = _mirrored(found.ratings) if swapped else found.ratings
        return Judgment(verdicts.mean_rating(ratings), reasoning=_in_words(ratings))


def _compared(asked: str, a: str, b: str) -> tuple[Compared, bool]:
    """Return the key of a comparison, and whether its answers are swapped compared with `a, b`."""
    return ((asked, b, a), True) if b < a else ((asked, a, b), False)


def _mirrored(ratings: Ratings) -> Ratings:
    """Return the same verdicts with the answers exchanged."""
    mirrored: Ratings = Counter()
    for value, count in ratings.items():
        mirrored[round(1 - value, verdicts.DIGITS)] += count
    return mirrored


def _sides(ratings: Ratings) -> Counter[float]:
    sides: Counter[float] = Counter()
    for value, count in ratings.items():
        sides[verdicts.side_of(value)] += count
    return sides


def _in_words(ratings: Ratings) -> str:
    """Return the numbers of raters as text, `3 for a, 1 tied`; "" for a single rater."""
    if ratings.total() == 1:
        return ""
    sides = _sides(ratings)
    words = {verdicts.FIRST: "for a", verdicts.SECOND: "for b", verdicts.TIE: "tied"}
    return ", ".join(f"{sides[side]:,} {said}" for side, said in words.items() if sides[side])
