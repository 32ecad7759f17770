"""Render examples as text with the spans of the scored turns.

A conversation is one row if the rendering up to each turn is a prefix of the rendering up to the next. Some
templates render earlier turns differently from the last one: they drop reasoning, or move the system prompt.
Then generation never produces the rendering of the whole conversation, and each assistant turn becomes a row
of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Example, Message, answers_of, is_scored, scores_of
from boresight.data.rendering.turns import Renderer, Turn
from boresight.data.stop_tokens import EndOfTurn
from boresight.data.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Continuation:
    """Text of a whole conversation, up to its last end-of-turn token.

    `spans` are `(start, end)` in characters, one for each scored assistant turn: its content and its
    end-of-turn token.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row as text: the prompt with the generation prompt, and all its continuations.

    `scores` are the scores of the continuations, if the source has scores.
    """

    id: str
    prompt: str
    continuations: tuple[Continuation, ...]
    scores: tuple[float, ...] = ()

    @property
    def texts(self) -> list[str]:
        """Texts to tokenize: the prompt, then the continuations."""
        return [self.prompt, *(c.text for c in self.continuations)]


def render_example(tokenizer: Tokenizer, example: Example, end: EndOfTurn) -> list[Rendered]:
    """Render an example with the tokenizer's chat template, as one row or one row per assistant turn.

    Raises:
        UserError: the template refuses the messages or drops content, does not start an assistant turn with
            its own generation prompt, or renders earlier turns of an answer of a pair differently from its
            last turn.
    """
    renderer = Renderer(tokenizer, end, example.id)
    if isinstance(example, Demonstration):
        return _demonstration(renderer, example.messages)
    prompt = renderer.write(example.prompt, ask=True)
    renderer.refuse_unwritten(example.prompt, range(len(example.prompt)), prompt, ask=True)
    answers = answers_of(example)
    continuations = tuple(_answer(renderer, example.prompt, answer, prompt) for answer in answers)
    return [Rendered(example.id, prompt, continuations, scores_of(example))]


def _demonstration(renderer: Renderer, messages: list[Message]) -> list[Rendered]:
    turns = _turns(renderer, messages, 0)
    if _nested(turns):
        first, last = turns[0], turns[-1]
        spans = tuple(turn.span for turn in turns)
        return [Rendered(renderer.id, first.text[: first.start], (Continuation(last.text, spans),))]
    return [
        Rendered(f"{renderer.id}.turn-{n}", turn.text[: turn.start], (Continuation(turn.text, (turn.span,)),))
        for n, turn in enumerate(turns, start=1)
    ]


def _answer(renderer: Renderer, before: list[Message], after: list[Message], prompt: str) -> Continuation:
    if not after or after[0]["role"] != "assistant":
        raise UserError(f"row {renderer.id!r}: an assistant's turn must follow the prompt.")
    turns = _turns(renderer, [*before, *after], len(before), prompt)
    if not _nested(turns) or not turns[-1].text.startswith(prompt):
        raise UserError(
            f"row {renderer.id!r}: the chat template writes earlier turns of an answer otherwise than its "
            "last, so an answer of several turns cannot be scored as one; move all turns but the last into "
            "the prompt."
        )
    return Continuation(turns[-1].text, tuple(turn.span for turn in turns))


def _turns(renderer: Renderer, messages: list[Message], first: int, opening: str | None = None) -> list[Turn]:
    """Render the scored turns from message `first` on.

    `opening` is the rendered context of message `first`, if it is known.
    """
    scored = [n for n in range(first, len(messages)) if is_scored(messages[n])]
    if not scored:
        raise UserError(f"row {renderer.id!r}: no turn of the answer is scored; all have weight 0.")
    turns = [renderer.turn(messages[: n + 1], opening if n == first else None) for n in scored]
    context = [n for n in range(first, scored[-1]) if n not in scored]
    renderer.refuse_unwritten(messages[: scored[-1]], context, turns[-1].text[: turns[-1].start], ask=True)
    return turns


def _nested(turns: Sequence[Turn]) -> bool:
    """Return whether the text of each turn is a prefix of the context of the next turn."""
    return all(later.text[: later.start].startswith(turn.text) for turn, later in pairwise(turns))
