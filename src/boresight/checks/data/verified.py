"""Check the answers of a file with a verifier: `boresight data check FILE --reward math`.

The verifier decides which answers are right; the row labels which answers are good. The verifier contradicts
a row if the two disagree:

- the chosen answer of a pair is wrong,
- the rejected answer of a pair is right, or its score is at least that of the chosen answer,
- a demonstration, or an answer labeled true, is wrong,
- an answer labeled false is right.

A row with an answer that has no score is neither confirmed nor contradicted; it is counted as missing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Example, Labeled, Message, Preference, Prompt, prompt_of
from boresight.core.wording import plural
from boresight.data.demo import data_path
from boresight.data.reading.load import Loaded
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.write import write_examples, writer_of
from boresight.scorers.correctness import is_right, threshold_of
from boresight.scorers.judges.base import Score
from boresight.scorers.reward_function import BUILTIN, RewardFunction
from boresight.stats.intervals import Interval, Value, clustered_share, grouped

CHUNK = 512
"""Number of answers that are scored at a time."""

WRONG, RIGHT = "the chosen answer is wrong", "the rejected answer is right"
HIGHER, EQUAL = "the rejected answer scores higher", "both score the same"
IMITATED_WRONG, FALSELY_GOOD, FALSELY_BAD = (
    "the answer is wrong",
    "labeled true, is wrong",
    "labeled false, is right",
)
KINDS = {
    "preference": (WRONG, RIGHT, HIGHER, EQUAL),
    "demonstration": (IMITATED_WRONG,),
    "labeled": (FALSELY_GOOD, FALSELY_BAD),
}
"""Contradictions that are possible in a file of each kind."""
NOUNS = {"preference": "pair", "demonstration": "answer", "labeled": "labeled answer"}


@dataclass(frozen=True, slots=True)
class VerifiedRow:
    """One row of the file: its number (from 1), its example, and the score of each answer, by name."""

    row: int
    example: Example
    scores: Mapping[str, Score]

    @property
    def failure(self) -> str:
        """Reason why an answer has no score; '' if all answers have one."""
        lacking = next((name for name, score in self.scores.items() if score.value is None), None)
        return "" if lacking is None else f"{lacking}: {self.scores[lacking].failure}"


@dataclass(frozen=True)
class VerifiedFile:
    """The answers of a file with their scores by a reward.

    `threshold` is the smallest reward of a right answer; None if no answer is right or wrong.
    """

    reward: str
    source: str
    kind: str
    rows: tuple[VerifiedRow, ...]
    threshold: float | None

    @property
    def rule(self) -> str:
        """The rule by which an answer counts as right, as a sentence."""
        if self.threshold is None:
            outside = f"Rewards of {self.reward} lie outside of 0 to 1"
            return f"{outside}, so no answer is right or wrong and the two of a pair are compared."
        return f"An answer is right from a reward of {self.threshold:g} on."

    def contradictions(self, found: VerifiedRow) -> list[str]:
        """Return the contradictions between the reward and the row.

        The list is empty if they agree or if a score is missing.
        """
        known = {name: score.value for name, score in found.scores.items() if score.value is not None}
        if len(known) < len(found.scores):
            return []
        right = {name: is_right(value, self.threshold) for name, value in known.items()}
        if isinstance(found.example, Preference):
            chosen, rejected = known["chosen"], known["rejected"]
            holds = {
                WRONG: right["chosen"] is False,
                RIGHT: right["rejected"] is True,
                HIGHER: rejected > chosen,
                EQUAL: rejected == chosen,
            }
        else:
            label = found.example.label if isinstance(found.example, Labeled) else None
            wrong = right["answer"] is False
            holds = {
                IMITATED_WRONG: label is None and wrong,
                FALSELY_GOOD: label is True and wrong,
                FALSELY_BAD: label is False and not wrong,
            }
        return [what for what, does in holds.items() if does]

    @property
    def verdict(self) -> str:
        """The result as text, such as `exact_match contradicts 3 of 40 scored pairs; 2 without a score.`"""
        missing = len(self.missing)
        rows = plural(len(self.rows) - missing, f"scored {NOUNS[self.kind]}")
        without = f"; {missing:,} without a score" if missing else ""
        return f"{self.reward} contradicts {len(self.contradicted):,} of {rows}{without}."

    @property
    def contradicted(self) -> list[VerifiedRow]:
        """Rows that the reward contradicts."""
        return [found for found in self.rows if self.contradictions(found)]

    @property
    def missing(self) -> list[VerifiedRow]:
        """Rows with an answer that has no score."""
        return [found for found in self.rows if found.failure]

    @property
    def clean(self) -> list[Example]:
        """Examples of the rows that the reward confirms: all scores are known and none contradicts."""
        return [f.example for f in self.rows if not f.failure and not self.contradictions(f)]

    def share(self, *kinds: str) -> Interval:
        """Return the share of the scored rows that have any of the contradictions `kinds`, by default all.

        The interval is clustered by prompt.
        """
        wanted = set(kinds or KINDS[self.kind])
        outcomes: list[Value] = [
            None if found.failure else float(not wanted.isdisjoint(self.contradictions(found)))
            for found in self.rows
        ]
        return clustered_share(grouped(outcomes, self._prompts))

    @cached_property
    def _prompts(self) -> list[str]:
        """Key of each row's prompt, by which shares are clustered."""
        return [prompt_key(found.example) for found in self.rows]

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows with each contradiction; one row may have several."""
        counted = Counter(what for found in self.rows for what in self.contradictions(found))
        undefined = (WRONG, RIGHT) if self.threshold is None else ()
        return {what: counted[what] for what in KINDS[self.kind] if what not in undefined}

    def write_clean(self, path: Path) -> int:
        """Write the confirmed rows in canonical form, atomically, and return their number.

        Raises:
            UserError: no row is confirmed, or the file cannot be written (`data.write.write_examples`).
        """
        if not self.clean:
            noun = NOUNS[self.kind]
            raise UserError(f"{path}: {self.reward} confirms no {noun} of {self.source}; nothing is written.")
        write_examples(self.clean, path)
        return len(self.clean)


def verify(
    loaded: Loaded, reward: str, options: Mapping[str, Any] | None = None, correct_at: float | None = None
) -> VerifiedFile:
    """Score every answer of a file with a reward function.

    Args:
        reward: built-in name or import path of the reward function.
        options: arguments of the reward function.
        correct_at: smallest reward of a right answer. None: 1 if every reward lies in [0, 1]; otherwise no
            answer is right or wrong, and only the two scores of a pair are compared.

    Raises:
        UserError: the file contains prompts without answers, there is no such function, no row has all of its
            scores, or single answers have rewards outside of 0 to 1 and there is no `correct_at`.
    """
    if correct_at is not None and not math.isfinite(correct_at):
        raise UserError(f"--correct-at: is {correct_at}; set it to the smallest reward of a right answer.")
    if loaded.kind not in KINDS:
        raise UserError(f"{loaded.source}: holds no answers, which {reward} could score.")
    scorer = RewardFunction(reward, options=options)
    answers = [_answers(example) for example in loaded.examples]
    asked = [one for of_row in answers for one in of_row.values()]
    if reward not in BUILTIN:
        scorer.refuse_lacking([prompt for prompt, _ in asked])
    scores = list(_scored(scorer, *zip(*asked, strict=True)))
    given = iter(scores)
    rows = tuple(
        VerifiedRow(row, example, {name: next(given) for name in of_row})
        for row, example, of_row in zip(loaded.rows, loaded.examples, answers, strict=True)
    )
    if all(one.failure for one in rows):
        reason = rows[0].failure.rstrip(".")
        raise UserError(
            f"{loaded.source}: not one of {len(rows):,} rows could be scored with {reward}, for instance "
            f"row {rows[0].row:,}, {reason}."
        )
    threshold = threshold_of((score.value for score in scores), correct_at)
    if threshold is None and loaded.kind != "preference":
        raise UserError(
            f"reward {reward}: is not within 0 to 1; set --correct-at to the smallest reward of a right "
            "answer."
        )
    return VerifiedFile(reward, loaded.source, loaded.kind, rows, threshold)


def refuse_output(path: Path, source: str) -> None:
    """Raise a `UserError` if clean rows cannot be written to `path`.

    The reason is the type of the file, or that it exists.
    """
    writer_of(path)
    if path.exists() and data_path(source).exists() and path.samefile(data_path(source)):
        raise UserError(f"{path}: is the file that is checked; write the clean rows to another one.")
    if path.exists():
        raise UserError(f"--write: {path} is there already; delete it, or write to another file.")


def _answers(example: Example) -> dict[str, tuple[Prompt, str]]:
    """Return the answers of a row by name.

    Each is the conversation before the last turn of the answer, and the text of that turn.
    """
    match example:
        case Preference(_, chosen, rejected):
            return {"chosen": _asked(example, chosen), "rejected": _asked(example, rejected)}
        case Labeled():
            return {"answer": _asked(example, example.completion)}
        case Demonstration(messages):
            return {"answer": _asked(example, messages[-1:])}
        case _:
            return {}


def _asked(example: Example, answer: Sequence[Message]) -> tuple[Prompt, str]:
    return Prompt([*prompt_of(example), *answer[:-1]], example.id, example.meta), answer[-1]["content"]


def _scored(scorer: RewardFunction, prompts: Sequence[Prompt], texts: Sequence[str]) -> Iterator[Score]:
    """Compute the scores of all answers, in chunks.

    An answer whose row lacks a column that the reward needs has no score; the other answers keep theirs.
    """
    for start in range(0, len(texts), CHUNK):
        part = slice(start, start + CHUNK)
        try:
            found = scorer.score(prompts[part], texts[part])
        except UserError:
            found = [_single(scorer, *one) for one in zip(prompts[part], texts[part], strict=True)]
        yield from (score.checked() for score in found)


def _single(scorer: RewardFunction, prompt: Prompt, text: str) -> Score:
    try:
        return scorer.score([prompt], [text])[0]
    except UserError as error:
        return Score(None, failure=str(error))
