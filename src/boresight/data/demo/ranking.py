"""From sampled answers to pairs: what is chosen, what is rejected, and why length must not tell.

A good answer meets the constraint, ends by itself, and has every quality of
`boresight.data.constraints.quality`. Among the good ones the most likely per token under the start
model is chosen: likelihood, unlike brevity, is not what any constraint rewards.

Two kinds of pairs come out, and each takes its rejected answer as near in length as there is:

    constraint   the rejected answer misses the constraint
    quality      the rejected answer meets it badly: a fragment, off topic, unfinished, stuck in a loop

The second kind is what holds the policy off the cheap ways to meet a constraint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from boresight.data.constraints import Constraint, quality, words
from boresight.data.schema import Preference, Prompt

CHECKS = 6
"""One constraint and five qualities: the score of a good answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A sampled answer; `logp` is nats per token under the start model at temperature 1."""

    text: str
    finished: bool
    logp: float


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer, whether it meets its prompt's constraint, and how many of the six checks it passes."""

    answer: Answer
    met: bool
    score: int

    @property
    def length(self) -> int:
        """Words."""
        return len(words(self.answer.text))


def judge(prompt: Prompt, answer: Answer) -> Judged:
    """Check one answer. One that was cut off is not complete, whatever sign it stops at."""
    qualities = quality(answer.text, prompt.meta["topic"])
    qualities["complete"] &= answer.finished
    met = Constraint.from_meta(prompt.meta).met(answer.text)
    return Judged(answer, met, int(met) + sum(qualities.values()))


def pairs_of(prompt: Prompt, answers: Sequence[Answer], most: int = 2) -> list[Preference]:
    """At most `most` constraint pairs and one quality pair; none where nothing good was sampled.

    Answers that differ only in surrounding white space count once, empty ones not at all.
    """
    unique = {a.text.strip(): a for a in answers if words(a.text)}
    judged = sorted((judge(prompt, a) for a in unique.values()), key=lambda j: -j.answer.logp)
    good = [j for j in judged if j.met and j.score == CHECKS]
    misses = [j for j in judged if not j.met]
    poor = [j for j in judged if j.met and j.score < CHECKS]
    pairs = []
    for chosen in good[:most]:
        if misses:
            pairs.append((chosen, _take_nearest(misses, chosen.length), "constraint"))
    if good and poor:
        pairs.append((good[0], _take_nearest(poor, good[0].length), "quality"))
    return [_preference(prompt, *pair, number) for number, pair in enumerate(pairs)]


def length_auc(pairs: Sequence[Preference]) -> float:
    """Chance that a chosen answer has more words than a rejected one, ties half: 0.5 says nothing."""
    chosen = [len(words(p.chosen[0]["content"])) for p in pairs]
    rejected = [len(words(p.rejected[0]["content"])) for p in pairs]
    wins = sum((c > r) + (c == r) / 2 for c in chosen for r in rejected)
    return wins / (len(chosen) * len(rejected))


def _take_nearest(answers: list[Judged], length: int) -> Judged:
    """Remove and return the answer nearest in length; of equally near ones, the likelier."""
    nearest = min(answers, key=lambda j: abs(j.length - length))
    answers.remove(nearest)
    return nearest


def _preference(prompt: Prompt, chosen: Judged, rejected: Judged, reason: str, number: int) -> Preference:
    logps = {"chosen_logp": round(chosen.answer.logp, 3), "rejected_logp": round(rejected.answer.logp, 3)}
    return Preference(
        prompt=prompt.prompt,
        chosen=[{"role": "assistant", "content": chosen.answer.text.strip()}],
        rejected=[{"role": "assistant", "content": rejected.answer.text.strip()}],
        id=f"{prompt.id}-{number}",
        chosen_score=chosen.score,
        rejected_score=rejected.score,
        meta={**prompt.meta, "reason": reason, **logps},
    )
