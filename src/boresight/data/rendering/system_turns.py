"""Remove system turns for chat templates that do not support them (`data.system`).

They are folded into the next user turn, or dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from boresight.core.schema import Demonstration, Example, Labeled, Message, Preference, Prompt
from boresight.data.reading.message_keys import OF_CONVERSATION


def count_system_turns(examples: Sequence[Example]) -> int:
    """Return the number of system turns in all examples."""
    return sum(m["role"] == "system" for example in examples for part in _parts(example) for m in part)


def fold_system(example: Example) -> Example:
    """Prepend each system turn to the user turn that follows it, separated by a blank line."""
    return _changed(example, [_folded(part) for part in _parts(example)])


def drop_system(example: Example) -> Example:
    """Return the example without its system turns."""
    return _changed(example, [_dropped(part) for part in _parts(example)])


def _parts(example: Example) -> list[list[Message]]:
    match example:
        case Demonstration(messages):
            return [messages]
        case Prompt(prompt):
            return [prompt]
        case Preference(prompt, chosen, rejected):
            return [prompt, chosen, rejected]
        case Labeled(prompt, completion):
            return [prompt, completion]


def _changed(example: Example, parts: list[list[Message]]) -> Example:
    match example:
        case Demonstration():
            return replace(example, messages=parts[0])
        case Prompt():
            return replace(example, prompt=parts[0])
        case Preference():
            return replace(example, prompt=parts[0], chosen=parts[1], rejected=parts[2])
        case Labeled():
            return replace(example, prompt=parts[0], completion=parts[1])


def _folded(messages: list[Message]) -> list[Message]:
    """Fold system turns; one without a user turn after it stays, for the template to accept or refuse."""
    folded: list[Message] = []
    for message in messages:
        if message["role"] == "user" and folded and folded[-1]["role"] == "system":
            before = folded.pop()
            words = f"{before['content']}\n\n{message['content']}"
            message = _with_options(before, {**message, "content": words})
        folded.append(message)
    return folded


def _dropped(messages: list[Message]) -> list[Message]:
    left = [message for message in messages if message["role"] != "system"]
    return [_with_options(messages[0], left[0]), *left[1:]] if left else []


def _with_options(first: Message, message: Message) -> Message:
    """Return the message with the keys of `first` that apply to the whole conversation."""
    options = {key: value for key, value in first.items() if key in OF_CONVERSATION}
    return cast("Message", {**message, **options})
