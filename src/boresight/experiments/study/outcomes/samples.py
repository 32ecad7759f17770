"""Select a few answers of a model to store with its results for reading.

The prompts are the same for all arms of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from boresight.core.console import HARMLESS
from boresight.core.schema import Message, Prompt
from boresight.evaluation.response import Response

MOST_ANSWERS, LONGEST_PROMPT, LONGEST_ANSWER = 6, 800, 500
"""Maximum number of answers per file, and maximum length of a prompt and of an answer in characters. They are
small because the files are committed."""


@dataclass(frozen=True)
class ShownAnswer:
    """First sample of a model for one prompt; `id` is that of the prompt.

    `answer` is None if there is no completion. `cut_at` is its number of tokens if the token limit cut it.
    """

    id: str
    prompt: str
    answer: str | None
    cut_at: int | None = None

    def bounded(self) -> ShownAnswer:
        """Return a copy without control characters, its texts cut at their maximum lengths."""
        answer = None if self.answer is None else _cut(self.answer, LONGEST_ANSWER)
        return ShownAnswer(self.id, _cut(self.prompt, LONGEST_PROMPT), answer, self.cut_at)


def shown_answers(prompts: Sequence[Prompt], found: Sequence[Sequence[Response]]) -> list[ShownAnswer]:
    """Return the first samples for `MOST_ANSWERS` prompts, evenly spaced; `found[prompt][sample]`."""
    count = min(MOST_ANSWERS, len(prompts))
    chosen = [(prompts[i], found[i][0]) for i in (place * len(prompts) // count for place in range(count))]
    return [
        ShownAnswer(prompt.id, _conversation(prompt.prompt), response.text, response.cut_at).bounded()
        for prompt, response in chosen
    ]


def _conversation(messages: Sequence[Message]) -> str:
    """Return the text of a single message as it is, and of several messages with their roles."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _cut(text: str, longest: int) -> str:
    safe = text.translate(HARMLESS)
    return safe if len(safe) <= longest else f"{safe[:longest]}…"
