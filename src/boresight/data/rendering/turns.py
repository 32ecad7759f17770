"""An assistant's turn as text: in the context that generation would see, up to its end-of-turn token.

    <|im_start|>user↵Hi<|im_end|>↵<|im_start|>assistant↵[Hello.<|im_end|>]

The context is the rendering of the messages before the turn, with the generation prompt. The newline that the
template writes after the end-of-turn token is no part of the turn: the model stops before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from boresight.core.errors import UserError
from boresight.core.schema import Message
from boresight.data.reading.message_keys import CALLS, THOUGHTS
from boresight.data.rendering.template import TemplateRefusal, render_messages
from boresight.data.stop_tokens import EndOfTurn
from boresight.data.tokenizer import Tokenizer

LONGEST_QUOTE = 40
"""Characters of a template's text in a message."""


@dataclass(frozen=True, slots=True)
class Turn:
    """An assistant's turn: `text` is its context, the turn and its end-of-turn token; `start` is where the
    context ends, in characters."""

    text: str
    start: int

    @property
    def span(self) -> tuple[int, int]:
        """Start and end of what is scored, in characters."""
        return self.start, len(self.text)


def write_messages(tokenizer: Tokenizer, messages: Sequence[Message], id: str, *, ask: bool = False) -> str:
    """The template's text of row `id`; `ask` appends the generation prompt.

    Raises:
        UserError: the template refuses the messages; gives its reason.
    """
    try:
        return render_messages(tokenizer, messages, ask=ask)
    except TemplateRefusal as refusal:
        raise UserError(f"row {id!r}: the chat template refuses these messages: {refusal}.") from refusal


@dataclass(frozen=True, slots=True)
class Renderer:
    """Writes the messages of one example, whose id is `id`, with the tokenizer's chat template."""

    tokenizer: Tokenizer
    end: EndOfTurn
    id: str

    def write(self, messages: Sequence[Message], *, ask: bool = False) -> str:
        """As `write_messages`; says how the recipe keeps the row where a system turn is what is refused."""
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
        """The last of the messages as an assistant's turn; `opening` is its context, where it is known.

        A template may leave out what the last turn begins with although generation would write it, as
        DeepSeek-R1's leaves out thoughts; then the turn follows the context as it stands in the data.

        Raises:
            UserError: the template refuses the messages, loses a part of the turn, ends it with no
                end-of-turn token, or opens it otherwise than its generation prompt does.
        """
        opening = self.write(messages[:-1], ask=True) if opening is None else opening
        text, words = self.write(messages), messages[-1]["content"]
        self.refuse_unwritten(messages, [len(messages) - 1], text)
        agrees = text.startswith(opening)
        if agrees:
            text = text[: self._end(text, len(opening), words)]
            if _squeezed(words) in _squeezed(text[len(opening) :]):
                return Turn(text, len(opening))
        restored = self._restored(text, opening, words)
        if restored is not None:
            return Turn(restored, len(opening))
        why = _lost(len(messages)) if agrees else _otherwise(opening)
        raise UserError(f"row {self.id!r}: the chat template {why} set model.chat_template to another one.")

    def refuse_unwritten(
        self, messages: Sequence[Message], turns: Iterable[int], text: str, *, ask: bool = False
    ) -> None:
        """Refuse content of `turns` that the template leaves out: rendered without it, the text is the same.

        Thoughts count in a turn that is scored: templates drop them from the history on purpose.
        """
        for n in turns:
            scored = not ask and n == len(messages) - 1
            for key in ("tools", *CALLS, *(THOUGHTS if scored else ())):
                if key in messages[n] and self._without(messages, n, key, ask) == text:
                    raise UserError(
                        f"row {self.id!r}: the chat template writes nothing of `{key}` in turn {n + 1}, so "
                        "it would be lost; set model.chat_template to one that writes it, or take the key "
                        "out of the data."
                    )

    def _only_the_system_turn(self, messages: Sequence[Message], ask: bool) -> bool:
        """Whether the template takes the messages without their system turn."""
        rest = [message for message in messages if message["role"] != "system"]
        if not rest or len(rest) == len(messages):
            return False
        try:
            return bool(render_messages(self.tokenizer, rest, ask=ask))
        except TemplateRefusal:
            return False

    def _without(self, messages: Sequence[Message], n: int, key: str, ask: bool) -> str | None:
        """The text without one key of message `n`; None where the template cannot do without it."""
        less = cast("Message", {k: v for k, v in messages[n].items() if k != key})
        try:
            return render_messages(self.tokenizer, [*messages[:n], less, *messages[n + 1 :]], ask=ask)
        except TemplateRefusal:
            return None

    def _end(self, text: str, start: int, words: str) -> int:
        """Where the turn that starts at `start` ends, end-of-turn token included.

        The words are skipped first, as they may quote the end-of-turn token. Templates may trim them, and
        write thoughts before them.
        """
        words = words.strip()
        found = text.find(words, start)
        at = text.find(self.end.text, start if found < 0 else found + len(words))
        if at < 0:
            raise UserError(
                f"row {self.id!r}: the chat template writes no {self.end.text} after an assistant's turn; "
                "set model.chat_template to one that does."
            )
        return at + len(self.end.text)

    def _restored(self, text: str, opening: str, words: str) -> str | None:
        """Context and turn where the template wrote only the last part of the words; None where it did not.

        Words that begin with what the generation prompt ends with, such as `<think>`, go on after it.
        """
        shared = _overlap(opening.rstrip(), words)
        before = opening.rstrip().removesuffix(words[:shared]) if shared else opening
        if not text.startswith(before):
            return None
        kept = text[len(before) : self._end(text, len(before), words)].removesuffix(self.end.text).strip()
        if not kept or not words.rstrip().endswith(kept):
            return None
        rest = words[shared:].lstrip() if shared else words
        return f"{opening}{rest.rstrip()}{self.end.text}"


def _overlap(text: str, words: str) -> int:
    """Length of the longest beginning of `words` with which `text` ends."""
    longest = min(len(text), len(words), LONGEST_QUOTE)
    return next((n for n in range(longest, 0, -1) if text.endswith(words[:n])), 0)


def _squeezed(text: str) -> str:
    """The text without white space, which templates trim and add."""
    return "".join(text.split())


def _lost(turn: int) -> str:
    return f"leaves out words of turn {turn}, which would be lost; take them out of the data, or"


def _otherwise(opening: str) -> str:
    return (
        "opens an assistant's turn otherwise than its generation prompt does, so what to score cannot be "
        f"told; begin the answers as the generation prompt ends ({opening[-LONGEST_QUOTE:]!r}), or"
    )
