"""References from a tool's result to its call (`tool_call_id`, `name`) that a chat template omits.

Many templates do, since results follow their calls. Rows are not refused; a note is printed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from boresight.core.schema import Demonstration, Example, Labeled, Message, Preference
from boresight.data.reading.message_keys import REFERENCES
from boresight.data.rendering.template import TemplateRefusal, render_messages
from boresight.data.tokenizer import Tokenizer


def ignored_references(tokenizer: Tokenizer, examples: Sequence[Example]) -> str:
    """A sentence with the keys of results that the template leaves out, and how many; "" for none.

    The template is tried on the first conversation that has the key.
    """
    counts = dict.fromkeys(REFERENCES, 0)
    first: dict[str, list[Message]] = {}
    for turns in map(_conversation, examples):
        for key in REFERENCES:
            if found := sum(key in message for message in turns):
                counts[key] += found
                first.setdefault(key, turns)
    ignored = [f"`{key}` ({counts[key]:,})" for key in REFERENCES if _ignores(tokenizer, first.get(key), key)]
    return f"the chat template writes nothing of {' and '.join(ignored)} of tool results" if ignored else ""


def _ignores(tokenizer: Tokenizer, turns: Sequence[Message] | None, key: str) -> bool:
    """Whether the template writes nothing of the key in a conversation that has it; None: none has it."""
    if turns is None:
        return False
    without = [cast("Message", {k: v for k, v in message.items() if k != key}) for message in turns]
    try:
        return render_messages(tokenizer, turns) == render_messages(tokenizer, without)
    except TemplateRefusal:
        return False  # the template needs the key, or the row is refused anyway


def _conversation(example: Example) -> list[Message]:
    match example:
        case Demonstration(messages):
            return messages
        case Preference(prompt, answer) | Labeled(prompt, answer):
            return [*prompt, *answer]
        case _:
            return example.prompt
