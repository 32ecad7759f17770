"""Arguments of tool calls as objects, as readers give them, or as the JSON text that endpoints send.

A template expects one of the two forms: Qwen's write objects as JSON and would quote text once more;
DeepSeek's join text to text, and fail on an object or print it as Python does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from boresight.core.schema import Message
from boresight.data.reading.message_keys import CALLS


def argument_objects(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Arguments of all calls that are objects."""
    return [found for message in messages for key in CALLS for found in _objects(message.get(key))]


def arguments_as_text(messages: Sequence[Message]) -> list[Message]:
    """The messages with the arguments of tool calls as JSON text."""
    return [cast("Message", _as_text(message)) for message in messages]


def prints_python(text: str, arguments: Sequence[dict[str, Any]]) -> bool:
    """Whether `text` contains some of the arguments in Python's notation, which is not JSON."""
    return any(repr(value) in text and repr(value) != json.dumps(value) for value in arguments)


def _objects(value: object) -> Iterator[dict[str, Any]]:
    """Of a list of calls, a call or its function."""
    if isinstance(value, list):
        for call in value:
            yield from _objects(call)
    elif isinstance(value, dict):
        if isinstance(value.get("arguments"), dict):
            yield value["arguments"]
        yield from _objects(value.get("function"))


def _as_text(value: Any) -> Any:
    """A message, its calls, a call or its function with arguments as text."""
    if isinstance(value, list):
        return [_as_text(call) for call in value]
    if not isinstance(value, Mapping):
        return value
    changed = {key: _as_text(value[key]) for key in (*CALLS, "function") if key in value}
    if isinstance(value.get("arguments"), dict):
        changed["arguments"] = json.dumps(value["arguments"], ensure_ascii=False)
    return {**value, **changed}
