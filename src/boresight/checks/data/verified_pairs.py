"""Pairs held against a verifier: `boresight data check FILE --reward math`.

A verifier knows which answer is right, and a pair claims which is better. They contradict each other where
the chosen answer is wrong, the rejected one is right, or the rejected one scores at least as high. A pair of
which either answer has no score is neither confirmed nor contradicted: it is missing, and counted.
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
from boresight.core.schema import Message, Preference, Prompt
from boresight.data.reading.load import Loaded
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.write import write_examples, writer_of
from boresight.scorers.correctness import is_right, threshold_of
from boresight.scorers.judges.base import Score
from boresight.scorers.reward_function import BUILTIN, RewardFunction
from boresight.stats.intervals import Interval, Value, clustered_share, grouped

CHUNK = 256
"""Pairs that are scored at a time."""

WRONG, RIGHT = "the chosen answer is wrong", "the rejected answer is right"
HIGHER, EQUAL = "the rejected answer scores higher", "both score the same"


@dataclass(frozen=True, slots=True)
class VerifiedPair:
    """A pair, its row in the file (from 1) and the scores of both answers."""

    row: int
    pair: Preference
    chosen: Score
    rejected: Score

    @property
    def failure(self) -> str:
        """Why a score is missing; '' where both are there."""
        side = next((s for s in ("chosen", "rejected") if getattr(self, s).value is None), None)
        return "" if side is None else f"{side}: {getattr(self, side).failure}"


@dataclass(frozen=True)
class VerifiedPairs:
    """What a reward says of the pairs of a file; `threshold` is the smallest reward of a right answer."""

    reward: str
    source: str
    pairs: tuple[VerifiedPair, ...]
    threshold: float | None

    def contradictions(self, found: VerifiedPair) -> list[str]:
        """In what the reward contradicts the pair; nothing where it agrees or a score is missing."""
        chosen, rejected = found.chosen.value, found.rejected.value
        if chosen is None or rejected is None:
            return []
        holds = {
            WRONG: is_right(chosen, self.threshold) is False,
            RIGHT: is_right(rejected, self.threshold) is True,
            HIGHER: rejected > chosen,
            EQUAL: rejected == chosen,
        }
        return [what for what, does in holds.items() if does]

    @property
    def rule(self) -> str:
        """From which reward on an answer counts as right."""
        if self.threshold is None:
            outside = f"Rewards of {self.reward} lie outside of 0 to 1"
            return f"{outside}, so no answer is right or wrong and the two of a pair are compared."
        return f"An answer is right from a reward of {self.threshold:g} on."

    @property
    def contradicted(self) -> list[VerifiedPair]:
        """Pairs that the reward contradicts, by row."""
        return [found for found in self.pairs if self.contradictions(found)]

    @property
    def missing(self) -> list[VerifiedPair]:
        """Pairs with an answer that has no score, by row."""
        return [found for found in self.pairs if found.failure]

    @property
    def clean(self) -> list[Preference]:
        """Pairs whose two scores confirm them."""
        return [f.pair for f in self.pairs if not f.failure and not self.contradictions(f)]

    def share(self, *kinds: str) -> Interval:
        """Share of the scored pairs with one of these contradictions, by default any; clustered by prompt."""
        wanted = set(kinds or (WRONG, RIGHT, HIGHER, EQUAL))
        outcomes: list[Value] = [
            None if found.failure else float(not wanted.isdisjoint(self.contradictions(found)))
            for found in self.pairs
        ]
        return clustered_share(grouped(outcomes, self._prompts))

    @cached_property
    def _prompts(self) -> list[str]:
        """The prompt of each pair, by which shares are clustered."""
        return [prompt_key(found.pair) for found in self.pairs]

    @property
    def counts(self) -> dict[str, int]:
        """Pairs with each contradiction; a pair may have several."""
        counted = Counter(what for found in self.pairs for what in self.contradictions(found))
        judged = (WRONG, RIGHT) if self.threshold is not None else ()
        return {what: counted[what] for what in (*judged, HIGHER, EQUAL)}

    def write_clean(self, path: Path) -> int:
        """Write the confirmed pairs in canonical form, atomically, and return their number.

        Raises:
            UserError: there is none, or as `data.write.write_examples` does.
        """
        if not self.clean:
            raise UserError(f"{path}: {self.reward} confirms no pair of {self.source}; nothing is written.")
        write_examples(self.clean, path)
        return len(self.clean)


def verify_pairs(
    loaded: Loaded, reward: str, options: Mapping[str, Any] | None = None, correct_at: float | None = None
) -> VerifiedPairs:
    """Score both answers of every pair with a reward function, a built-in name or an import path.

    `correct_at` is the smallest reward of a right answer; None takes 1 where every reward lies in [0, 1], and
    otherwise no answer is right or wrong and the two scores of a pair are compared alone.

    Raises:
        UserError: the file holds no pairs, there is no such function, or not one pair has two scores.
    """
    if correct_at is not None and not math.isfinite(correct_at):
        raise UserError(f"--correct-at: is {correct_at}; give the smallest reward of a right answer.")
    pairs = [example for example in loaded.examples if isinstance(example, Preference)]
    if not pairs:
        raise UserError(f"{loaded.source}: holds no preference pairs, whose answers {reward} could compare.")
    scorer = RewardFunction(reward, options=options)
    asked = [(*_asked(pair, pair.chosen), *_asked(pair, pair.rejected)) for pair in pairs]
    if reward not in BUILTIN:
        scorer.refuse_lacking([prompt for prompt, *_ in asked])
    prompts = [prompt for one, _, other, _ in asked for prompt in (one, other)]
    texts = [text for _, one, _, other in asked for text in (one, other)]
    scores = list(_scored(scorer, prompts, texts))
    rows = zip(loaded.rows, pairs, scores[::2], scores[1::2], strict=True)
    found = tuple(VerifiedPair(*row) for row in rows)
    if all(one.failure for one in found):
        reason = found[0].failure.rstrip(".")
        raise UserError(
            f"{loaded.source}: not one of {len(found):,} pairs could be scored with {reward}, for instance "
            f"row {found[0].row:,}, {reason}."
        )
    threshold = threshold_of((score.value for score in scores), correct_at)
    return VerifiedPairs(reward, loaded.source, found, threshold)


def refuse_output(path: Path, source: str) -> None:
    """Raise a `UserError` if clean pairs cannot go to `path`, by its type or as it is the checked file."""
    writer_of(path)
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise UserError(f"{path}: is the file that is checked; write the clean pairs to another one.")


def _asked(pair: Preference, answer: Sequence[Message]) -> tuple[Prompt, str]:
    """What the last turn of an answer replies to, and its text."""
    return Prompt([*pair.prompt, *answer[:-1]], pair.id, pair.meta), answer[-1]["content"]


def _scored(scorer: RewardFunction, prompts: Sequence[Prompt], texts: Sequence[str]) -> Iterator[Score]:
    """The scores; a row without what the reward needs has none, and the others keep theirs."""
    for start in range(0, len(texts), 2 * CHUNK):
        part = slice(start, start + 2 * CHUNK)
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
