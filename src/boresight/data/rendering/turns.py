"""Render an assistant turn as text: its context, its content and its end-of-turn token.

    <|im_start|>user↵Hi<|im_end|>↵<|im_start|>assistant↵[Hello.<|im_end|>]

The context is the input of generation: the rendering of the messages before the turn, with the generation
prompt. A newline that the template renders after the end-of-turn token is not part of the turn, since the
model stops before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from boresight.core.errors import UserError
from boresight.core.schema import Message
from boresight.data.reading.message_keys import CALLS, THOUGHTS
from boresight.data.rendering.answers import answer_after, cut_turn
from boresight.data.rendering.template import TemplateRefusal, render_messages
from boresight.data.stop_tokens import EndOfTurn
from boresight.data.tokenizer import Tokenizer

LONGEST_QUOTE = 60
"""Maximum length of a template's text in an error, in characters."""


@dataclass(frozen=True, slots=True)
class Turn:
    """An assistant turn as text.

    `text` consists of the context, the content of the turn and its end-of-turn token; `start` is the length
    of the context in characters.
    """

    text: str
    start: int

    @property
    def span(self) -> tuple[int, int]:
        """Start and end of the scored text, in characters."""
        return self.start, len(self.text)


def write_messages(tokenizer: Tokenizer, messages: Sequence[Message], id: str, *, ask: bool = False) -> str:
    """Render the messages of row `id`; `ask` appends the generation prompt.

    Raises:
        UserError: the template refuses the messages; the error contains the template's reason.
    """
    try:
        return render_messages(tokenizer, messages, ask=ask)
    except TemplateRefusal as refusal:
        raise UserError(f"row {id!r}: the chat template refuses these messages: {refusal}.") from refusal


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders the messages of one example with the tokenizer's chat template.

    `id` is the id of the example, and `end` the end-of-turn token.
    """

    tokenizer: Tokenizer
    end: EndOfTurn
    id: str

    def write(self, messages: Sequence[Message], *, ask: bool = False) -> str:
        """Render messages as `write_messages` does.

        If the template refuses a system turn, the error suggests `data.system`.
        """
        try:
            return write_messages(self.tokenizer, messages, self.id, ask=ask)
        except UserError as error:
            if not self._only_the_system_turn(messages, ask):
                raise
            raise UserError(
                f"{str(error).rstrip('.')}; `data.system: fold` puts the system turn into the user's, `drop` "
                "leaves it out."
            ) from error

    def turn(self, messages: Sequence[Message], opening: str | None = None) -> Turn:
        """Render the last message as an assistant turn.

        Args:
            messages: the conversation up to the turn.
            opening: the rendered context of the turn, if it is known.

        Raises:
            UserError: the template refuses the messages, drops a part of the turn, does not end it with the
                end-of-turn token, or starts it differently from its generation prompt.
        """
        *before, last = messages
        opening = self.write(before, ask=True) if opening is None else opening
        text, words, end = self.write(messages), last["content"], self.end.text
        self.refuse_unwritten(messages, [len(before)], text)
        previous = before[-1]["content"] if before else ""
        answer = answer_after(opening, text, words, end, previous)
        if answer is None:
            raise UserError(f"row {self.id!r}: the chat template {self._why_none(text, opening, messages)}")
        self.refuse_unwritten(messages, [len(before)], opening + answer, where=f" before its {end}")
        return Turn(opening + answer, len(opening))

    def refuse_unwritten(
        self,
        messages: Sequence[Message],
        turns: Iterable[int],
        text: str,
        *,
        ask: bool = False,
        where: str = "",
    ) -> None:
        """Raise a `UserError` if the template ignores tools, tool calls or reasoning in the given turns.

        A key is ignored if the text is the same without it. Reasoning is checked only in a scored turn, since
        templates drop it from earlier turns on purpose.

        Args:
            messages: the conversation.
            turns: indices of the messages to check.
            text: rendering that must contain the content.
            ask: whether the text ends with the generation prompt.
            where: location for the error.
        """
        for n in turns:
            scored = not ask and n == len(messages) - 1
            for key in ("tools", *CALLS, *(THOUGHTS if scored else ())):
                if key in messages[n] and self._without(messages, n, key, ask).startswith(text):
                    why = f"writes nothing of `{key}` in turn {n + 1}{where}, so it would be lost"
                    raise UserError(
                        f"row {self.id!r}: the chat template {why}; set model.chat_template to one that "
                        "writes it, or take the key out of the data."
                    )

    def _only_the_system_turn(self, messages: Sequence[Message], ask: bool) -> bool:
        """Return whether the template accepts the messages without their system turn."""
        rest = [message for message in messages if message["role"] != "system"]
        return 0 < len(rest) < len(messages) and bool(self._attempt(rest, ask=ask))

    def _without(self, messages: Sequence[Message], n: int, key: str, ask: bool) -> str:
        """Return the rendering without one key of message `n`; empty if the template refuses that."""
        less = cast("Message", {k: v for k, v in messages[n].items() if k != key})
        return self._attempt([*messages[:n], less, *messages[n + 1 :]], ask=ask)

    def _attempt(self, messages: Sequence[Message], *, ask: bool = False) -> str:
        """Return the rendering; empty if the template refuses the messages."""
        try:
            return render_messages(self.tokenizer, messages, ask=ask)
        except TemplateRefusal:
            return ""

    def _why_none(self, text: str, opening: str, messages: Sequence[Message]) -> str:
        """Return why the last message is not a turn after `opening`, as the end of a sentence."""
        turn, another = len(messages), "set model.chat_template to another one."
        if not text.startswith(opening):
            added = _added(opening, text)
            return (
                "opens an assistant's turn otherwise than its generation prompt does, which continues with "
                f"{added!r}, so the scored tokens cannot be found; begin the answers with it, or {another}"
            )
        if not cut_turn(text, len(opening), messages[-1]["content"], self.end.text):
            return f"writes no {self.end.text} after an assistant's turn (turn {turn}); {another}"
        return (
            f"leaves out words of turn {turn}, which would be lost; take them out of the data, or {another}"
        )


def _added(opening: str, text: str) -> str:
    """Return the text that a generation prompt contains in place of `text`, from the start of its tag."""
    same = next((n for n in range(len(opening)) if opening[n] != text[n : n + 1]), 0)
    tag = opening.rfind("<", 0, same)
    start = tag if tag >= 0 and ">" not in opening[tag:same] else same
    return opening[start : start + LONGEST_QUOTE]
