"""A few answers of a model, kept beside its results to be read; all arms of a block have the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from boresight.core.console import HARMLESS
from boresight.core.schema import Message, Prompt
from boresight.evaluation.response import Response

MOST_ANSWERS, LONGEST_PROMPT, LONGEST_ANSWER = 6, 800, 500
"""Answers per file, and their longest texts in characters: the files are committed."""


@dataclass(frozen=True)
class ShownAnswer:
    """The first sample of a model to one prompt, by the prompt's id; None where there is no completion.

    `cut_at`: its number of tokens, if the token limit cut it.
    """

    id: str
    prompt: str
    answer: str | None
    cut_at: int | None = None

    def bounded(self) -> ShownAnswer:
        """The same without control characters, texts cut at their limits."""
        answer = None if self.answer is None else _cut(self.answer, LONGEST_ANSWER)
        return ShownAnswer(self.id, _cut(self.prompt, LONGEST_PROMPT), answer, self.cut_at)


def shown_answers(prompts: Sequence[Prompt], found: Sequence[Sequence[Response]]) -> list[ShownAnswer]:
    """Answers to `MOST_ANSWERS` prompts that are spread evenly over all; `found` is `[prompt][sample]`."""
    count = min(MOST_ANSWERS, len(prompts))
    chosen = [(prompts[i], found[i][0]) for i in (place * len(prompts) // count for place in range(count))]
    return [
        ShownAnswer(prompt.id, _conversation(prompt.prompt), response.text, response.cut_at).bounded()
        for prompt, response in chosen
    ]


def _conversation(messages: Sequence[Message]) -> str:
    """One turn as it is; several with their roles."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _cut(text: str, longest: int) -> str:
    safe = text.translate(HARMLESS)
    return safe if len(safe) <= longest else f"{safe[:longest]}…"
