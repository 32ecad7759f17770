"""Convert the arguments of tool calls between objects, the form in the data, and the JSON text of APIs.

A chat template expects one of the two forms: Qwen's templates serialize objects as JSON and would quote text
again; DeepSeek's concatenate text, and fail on an object or print it as a Python dict.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from boresight.core.schema import Message
from boresight.data.reading.message_keys import CALLS


def argument_objects(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the arguments of all tool calls, as far as they are objects."""
    return [found for message in messages for key in CALLS for found in _objects(message.get(key))]


def arguments_as_text(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with the arguments of tool calls converted to JSON text."""
    return [cast("Message", _as_text(message)) for message in messages]


def prints_python(text: str, arguments: Sequence[dict[str, Any]]) -> bool:
    """Return whether `text` contains an argument in Python's notation, which is not JSON."""
    return any(repr(value) in text and repr(value) != json.dumps(value) for value in arguments)


def _objects(value: object) -> Iterator[dict[str, Any]]:
    """Yield the arguments in a list of calls, a call, or the function of a call."""
    if isinstance(value, list):
        for call in value:
            yield from _objects(call)
    elif isinstance(value, dict):
        if isinstance(value.get("arguments"), dict):
            yield value["arguments"]
        yield from _objects(value.get("function"))


def _as_text(value: Any) -> Any:
    """Convert the arguments in a message, a list of calls, a call, or the function of a call to text."""
    if isinstance(value, list):
        return [_as_text(call) for call in value]
    if not isinstance(value, Mapping):
        return value
    changed = {key: _as_text(value[key]) for key in (*CALLS, "function") if key in value}
    if isinstance(value.get("arguments"), dict):
        changed["arguments"] = json.dumps(value["arguments"], ensure_ascii=False)
    return {**value, **changed}
