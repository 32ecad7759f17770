"""Stage 4, pairs: pair the best answer with the worst one of similar length; ties are dropped.

Judgments that change with the order of the answers are used as their mean over both orders, and counted on
the card (`Tally.flips`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from boresight.core.schema import Message, Preference
from boresight.synthesis.filters import Sieve
from boresight.synthesis.judge import Judged, Scored
from boresight.synthesis.near_duplicates import fingerprint, text_of
from boresight.synthesis.recipe import PairsSection

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

ScoredPair = tuple[Scored, Scored]
"""The better answer and the worse one."""

REFUSAL = re.compile(
    r"\s*(?:(i['’]?m sorry|i am sorry|sorry|i apologi[sz]e|unfortunately|as an ai\b),?\s*|,\s*)?(but\s+)?"
    r"(as an ai[^,.]*,\s*)?i\s?((['’]m| am) (not able|unable) to|can['’]?t|cannot)"
    r"\s+(assist|help|provide|fulfil|comply|answer|do that)",
    re.IGNORECASE,
)
"""Pattern of the beginning of an answer that refuses the request."""


def make_pairs(judged: Iterable[Judged], settings: PairsSection, sieve: Sieve) -> Iterator[Preference]:
    """Yield at most `per_prompt` pairs per prompt; with sides, one pair for each chosen answer.

    Among equally good pairs, the choice balances length: if the chosen answer has been the longer one more
    often so far, a pair with a shorter chosen answer is preferred, and vice versa.
    """
    lean = 0
    for row in judged:
        kept = list(_kept(row, settings, sieve))
        sided = any(scored.answer.side for scored in kept)
        found = _by_side(kept, settings, sieve) if sided else _by_score(kept, settings, sieve, row, lean)
        for number, (better, worse) in enumerate(found):
            lean += _longer(better, worse)
            yield _preference(row, better, worse, number)


def _kept(row: Judged, settings: PairsSection, sieve: Sieve) -> Iterator[Scored]:
    """Yield the answers that may be in a pair; count the others as dropped."""
    seen: set[str] = set()
    for scored in row.scored:
        if reason := _unfit(scored, settings, seen):
            example = scored.answer.text or scored.failure or scored.answer.reply.detail
            sieve.drop(reason, f"{text_of(row.prompt.prompt)[:60]} → {example}")
            continue
        seen.add(fingerprint(scored.answer.text))
        yield scored


def _unfit(scored: Scored, settings: PairsSection, seen: set[str]) -> str | None:
    """Return the reason why an answer must not be in a pair, or None if it may be."""
    answer = scored.answer
    if answer.reply.failure:
        return f"answers that failed ({answer.reply.failure})"
    if answer.words < settings.min_words:
        return f"answers of fewer than {settings.min_words} words"
    if REFUSAL.match(answer.text):
        return "answers that decline"
    if scored.score is None and answer.side is None:
        return "answers that could not be judged"
    if answer.side is None and fingerprint(answer.text) in seen:
        return "answers that repeat another to the prompt"
    return None


def _by_side(kept: Sequence[Scored], settings: PairsSection, sieve: Sieve) -> Iterator[ScoredPair]:
    chosen = [s for s in kept if s.answer.side == "chosen"]
    rejected = [s for s in kept if s.answer.side == "rejected"]
    for better, worse in zip(chosen, rejected, strict=False):
        if _alike(better, worse, settings):
            yield better, worse
        else:
            sieve.drop("pairs of too different length", better.answer.text)
    paired = min(len(chosen), len(rejected))
    for surplus in (*chosen[paired:], *rejected[paired:]):
        sieve.drop("answers without one of the other side", surplus.answer.text)


def _by_score(
    kept: Sequence[Scored], settings: PairsSection, sieve: Sieve, row: Judged, lean: int
) -> list[ScoredPair]:
    """Return the best pair, then the best one of the remaining answers, up to `per_prompt` pairs.

    Only a prompt without any pair is counted as dropped.
    """
    left = list(kept)
    pairs: list[ScoredPair] = []
    while len(pairs) < settings.per_prompt:
        found = _best_pair(left, settings, lean)
        if isinstance(found, str):
            if not pairs:
                sieve.drop(found, text_of(row.prompt.prompt))
            break
        pairs.append(found)
        lean += _longer(*found)
        left = [scored for scored in left if scored is not found[0] and scored is not found[1]]
    return pairs


def _best_pair(kept: Sequence[Scored], settings: PairsSection, lean: int) -> ScoredPair | str:
    """Return the pair of similar length with the largest difference of scores, or why there is none.

    The better answer has the highest score; the worse one is lower by more than `margin`.
    """
    if len(kept) < 2:
        return "prompts with fewer than two usable answers"
    best = max(_score(s) for s in kept)
    lower = [s for s in kept if best - _score(s) > settings.margin]
    if not lower:
        tie = all(_score(s) == best for s in kept)
        return "prompts whose answers tie" if tie else "prompts with too small a margin"
    options = [(b, w) for b in kept if _score(b) == best for w in lower]
    alike = [pair for pair in options if _alike(*pair, settings)]
    if not alike:
        return "prompts without two answers alike in length"

    def worth(pair: ScoredPair) -> tuple[float, bool, float]:
        better, worse = pair
        return _score(better) - _score(worse), _longer(better, worse) * lean < 0, -_gap(better, worse)

    return max(alike, key=worth)


def _score(scored: Scored) -> float:
    assert scored.score is not None  # `_unfit` has seen to it
    return scored.score


def _longer(better: Scored, worse: Scored) -> int:
    """Return 1 if the better answer has more words than the worse one, -1 if fewer, 0 if as many."""
    a, b = better.answer.words, worse.answer.words
    return (a > b) - (a < b)


def _alike(one: Scored, other: Scored, settings: PairsSection) -> bool:
    return _gap(one, other) <= (settings.max_length_gap or 1.0)


def _gap(one: Scored, other: Scored) -> float:
    """Return the difference in number of words, as a share of the longer answer."""
    a, b = one.answer.words, other.answer.words
    return abs(a - b) / max(a, b, 1)


def _preference(row: Judged, better: Scored, worse: Scored, number: int) -> Preference:
    return Preference(
        prompt=list(row.prompt.prompt),
        chosen=[Message(role="assistant", content=better.answer.text)],
        rejected=[Message(role="assistant", content=worse.answer.text)],
        id=f"{row.prompt.id}-{number}" if number else row.prompt.id,
        chosen_score=better.score,
        rejected_score=worse.score,
        meta={**row.prompt.meta, "chosen_from": _origin(better), "rejected_from": _origin(worse)},
    )


def _origin(scored: Scored) -> dict[str, Any]:
    answer = scored.answer
    origin: dict[str, Any] = {"source": answer.source, "model": answer.model, "response": answer.key}
    return {**origin, "axes": scored.axes} if scored.axes else origin


@dataclass(frozen=True, slots=True)
class Lengths:
    """Statistics of how well the length in words predicts the label.

    `chosen` and `rejected` are mean lengths; `chosen_longer` and `chosen_shorter` are numbers of pairs. `auc`
    compares every chosen answer with every rejected one, `within_pairs` only those of one pair: 0.5 is
    chance, and 0 or 1 means that length decides the label.
    """

    chosen: float
    rejected: float
    chosen_longer: int
    chosen_shorter: int
    auc: float
    pairs: int

    @property
    def within_pairs(self) -> float:
        """Share of pairs whose chosen answer is the longer one; ties count one half."""
        return (self.chosen_longer + (self.pairs - self.chosen_longer - self.chosen_shorter) / 2) / self.pairs


def lengths(pairs: Sequence[Preference]) -> Lengths:
    """Compute the statistics of answer lengths in words over preference pairs."""
    import numpy as np

    chosen = np.array([_words(p.chosen) for p in pairs])
    rejected = np.array([_words(p.rejected) for p in pairs])
    return Lengths(
        float(chosen.mean()),
        float(rejected.mean()),
        int((chosen > rejected).sum()),
        int((chosen < rejected).sum()),
        auc(chosen, rejected),
        len(pairs),
    )


def auc(higher: ArrayLike, lower: ArrayLike) -> float:
    """Compute the probability that a value of `higher` is above one of `lower`; ties count one half
    (Mann-Whitney).

    >>> auc([2, 3], [1, 3])
    0.625
    """
    import numpy as np

    ordered = np.sort(np.asarray(lower))
    below = np.searchsorted(ordered, higher, "left")
    equal = np.searchsorted(ordered, higher, "right") - below
    return float((below + equal / 2).mean() / len(ordered))


def _words(turns: Sequence[Message]) -> int:
    return sum(len(m["content"].split()) for m in turns)
