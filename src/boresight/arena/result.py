"""The result of an arena after its last vote: the win rate, and the system that each vote went to."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from boresight.arena.duels import Duel, Duels
from boresight.arena.votes import Votes
from boresight.core.schema import Message
from boresight.core.wording import cut_at_tokens, is_or_are, plural
from boresight.stats.units import unit_named


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """An answer, the name of its system, and whether it won the vote."""

    system: str
    text: str
    won: bool
    cut: str
    """`cut at 64 tokens` for an answer that the token limit cut, else ''."""


@dataclass(frozen=True, slots=True)
class JudgedPrompt:
    """A prompt with a vote, and the answers of both systems, in the order of `Votes.names`."""

    id: str
    prompt: Sequence[Message]
    answers: tuple[JudgedAnswer, JudgedAnswer]

    @property
    def verdict(self) -> str:
        """Name of the system that won the vote, or `tie`."""
        return next((answer.system for answer in self.answers if answer.won), "tie")


def win_rate_sentence(votes: Votes) -> str:
    """Return a sentence with the win rate of the second system over the first.

    It contains "not significant" if one half lies in the confidence interval of the win rate.
    """
    first, second = votes.names
    if votes.rate is None:
        return "No votes yet."
    rate, count = unit_named("share").estimate(votes.rate), plural(len(votes), "vote")
    undecided = ": not significant" if votes.rate.low <= 0.5 <= votes.rate.high else ""
    return f"{second} wins {rate} against {first} in {count}{undecided}."


def judged_prompts(duels: Duels, votes: Votes) -> list[JudgedPrompt]:
    """Return every prompt with a vote, in the order in which the duels are shown."""
    return [_judged(duel, votes) for duel in duels.duels if duel.prompt.id in votes]


def _judged(duel: Duel, votes: Votes) -> JudgedPrompt:
    winner, texts = votes.winner(duel.prompt.id), dict((duel.left, duel.right))
    cuts = dict(zip((duel.left[0], duel.right[0]), map(cut_at_tokens, duel.cut_at), strict=True))
    first, second = (JudgedAnswer(name, texts[name], winner == name, cuts[name]) for name in votes.names)
    return JudgedPrompt(duel.prompt.id, duel.prompt.prompt, (first, second))


def next_commands(votes: Votes, judged: Sequence[JudgedPrompt]) -> list[tuple[str, str]]:
    """Return `(command, purpose)` for each way to use the votes, such as training on them.

    Args:
        judged: every prompt with a vote, as returned by `judged_prompts`.
    """
    pairs = shlex.quote(str(votes.folder / "preferences.jsonl"))
    won = [answer for prompt in judged for answer in prompt.answers if answer.won]
    purpose = "train on them"
    if cut := sum(bool(answer.cut) for answer in won):
        purpose += (
            f"; {cut:,} of {plural(len(won), 'chosen answer')} {is_or_are(cut)} cut at the token limit, and "
            "the model would learn to end there: generate longer answers first"
        )
    return [
        (f"boresight data check {pairs}", "look at the preference pairs that the votes made"),
        (f"boresight train dpo data.train={pairs}", purpose),
    ]
