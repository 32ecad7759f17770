"""Find the references from tool results to calls (`tool_call_id`, `name`) that a chat template omits.

Many templates omit them, since results follow their calls. Such rows are not refused; a note is printed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from boresight.core.schema import Demonstration, Example, Labeled, Message, Preference
from boresight.data.reading.message_keys import REFERENCES
from boresight.data.rendering.template import TemplateRefusal, render_messages
from boresight.data.tokenizer import Tokenizer


def ignored_references(tokenizer: Tokenizer, examples: Sequence[Example]) -> str:
    """Return a sentence with the keys of tool results that the template omits and their counts; "" if none.

    Each key is tested on the first conversation that has it.
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
    """Return whether the template omits the key in a conversation that has it; False if `turns` is None."""
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
