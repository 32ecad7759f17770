"""Keys of a message other than its role and its content.

Keys with content are passed to the chat template, and a row is refused if the template ignores them
(`boresight.data.rendering`). Values that the template needs for the whole conversation are stored in its
first message, so that they stay with the conversation. The reader counts and names any other key.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

CALLS = ("tool_calls", "function_call")
"""Keys with tool calls, which replace or follow the text of the assistant."""

THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Keys with the reasoning of the assistant; as in generation, templates may omit it from earlier turns."""

MEDIA = ("images", "image", "videos", "video", "audios", "audio")
"""Keys with media; rows that have one are refused, since only text is supported."""

REFERENCES = ("tool_call_id", "name")
"""Keys of a tool result that identify its call. Templates may omit them, because the call contains them."""

OF_CONVERSATION = ("tools", "chat_template_kwargs")
"""Columns, or keys of the first message, that are arguments of the template besides the messages."""

RESERVED = frozenset(
    ["conversation", "messages", "chat_template", "tokenize", "add_generation_prompt", "tools",
     "continue_final_message", "documents", "return_tensors", "return_dict", "padding", "truncation",
     "max_length", "tokenizer_kwargs", "return_assistant_tokens_mask"],
)  # fmt: skip
"""Arguments of the template that a data set must not set."""

SYSTEM = ("system", "developer")
USER = ("user", "human", "prompter")
TOOL = ("tool", "observation", "function", "ipython")
"""Spellings of roles in public data sets, in lower case."""

WEIGHTS = ("weight", "loss_weight", "train", "trainable", "training", "loss", "train_on_turn")
"""Keys that state whether an assistant turn is trained on: 1 or true if it is, else 0 or false."""

MASKS = ("masked", "mask")
"""Keys that state whether an assistant turn is excluded from training: 1 or true if it is."""

NO, YES = ("0", "0.0", "false"), ("1", "1.0", "true")
"""Spellings of the weights 0 and 1, in lower case."""

NEVER_LEARNED = frozenset([*SYSTEM, *USER, *TOOL])
"""Spellings of roles whose turns are never trained on, whatever their weight."""

WORDS = frozenset(["role", "from", "content", "value"])
CARRIED = (*CALLS, *THOUGHTS, *REFERENCES, *OF_CONVERSATION)


def carried(turn: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Return the keys of a message that are passed to the template, without empty ones.

    Raises:
        ValueError: a key has a value of the wrong type; the message completes the sentence "`field` …".
    """
    keys = [key for key in CARRIED if role == "tool" or key not in REFERENCES]
    kept = {key: _without_nulls(turn[key]) for key in keys if not is_nothing(turn.get(key))}
    for key in MEDIA:
        if not is_nothing(turn.get(key)):
            raise ValueError(f"has `{key}`; only text can be aligned here")
    if role == "assistant" and (weight := _weight(turn)) is not None:
        kept["weight"] = weight
    if "tool_calls" in kept:
        kept["tool_calls"] = _calls(kept["tool_calls"])
    if isinstance(kept.get("function_call"), dict):
        kept["function_call"] = _call(kept["function_call"])
    return kept | of_conversation(kept)


def _weight(turn: Mapping[str, Any]) -> int | None:
    """Return 1 for a turn that is trained on, 0 for one that is not, None if the turn has no weight.

    Raises:
        ValueError: a weight is neither 0 nor 1, or two weights disagree.
    """
    said = {key: turn[key] for key in (*WEIGHTS, *MASKS) if turn.get(key) is not None}
    verdicts = {key: _verdict(key, value) != (key in MASKS) for key, value in said.items()}
    if len(set(verdicts.values())) > 1:
        raise ValueError(
            f"has {' and '.join(f'`{key}`' for key in verdicts)}, which disagree; keep one of them"
        )
    return int(all(verdicts.values())) if verdicts else None


def _verdict(key: str, value: object) -> bool:
    text = str(value).lower()
    if text not in (*NO, *YES):
        raise ValueError(f"has the {key} {repr(value)[:40]}; a turn counts (1) or does not (0)")
    return text in YES


def of_conversation(holder: Mapping[str, Any]) -> dict[str, Any]:
    """Return `tools` and `chat_template_kwargs` of a record or a message; JSON text is parsed.

    Raises:
        ValueError: a value has the wrong type, or an option that a data set must not set; the message
            completes the sentence "`field` …".
    """
    found = {key: _read(holder[key]) for key in OF_CONVERSATION if not is_nothing(holder.get(key))}
    tools = found.get("tools", [{}])
    if not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise ValueError("has `tools` that are no list of descriptions; rename it if it is something else")
    options = found.get("chat_template_kwargs", {})
    if not isinstance(options, dict):
        raise ValueError("has `chat_template_kwargs` that are no object")
    if chosen := sorted(RESERVED & options.keys()):
        raise ValueError(f"has `chat_template_kwargs` with `{chosen[0]}`, which is not the data's to set")
    return {key: value for key, value in found.items() if value}


def _calls(calls: object) -> object:
    """Return the calls with arguments as objects instead of JSON text, as most templates expect."""
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise ValueError("has `tool_calls` that are no list of calls")
    return [_call(call) for call in calls]


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if isinstance(function, dict):
        return {**call, "function": _call(function)}
    return {**call, "arguments": _read(call["arguments"])} if "arguments" in call else call


def _read(value: object) -> Any:
    """Parse JSON text; return other values without null entries, and other text unchanged."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    """Remove keys that are null: in Parquet, every row has the keys of all rows."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def is_nothing(value: object) -> bool:
    """Whether a value is null or empty."""
    return value is None or value in ("", [], {})


def unused(record: Mapping[str, Any]) -> Counter[str]:
    """Count the keys of a record's messages that have content but no effect.

    These are keys that are not read, and weights above 0 on turns that are never trained on. Returns the
    number of messages per key.
    """
    read = {*WORDS, *CALLS, *THOUGHTS, *OF_CONVERSATION, *MEDIA}
    counts: Counter[str] = Counter()
    for value in record.values():
        for turn in _turns_in(value):
            if isinstance(turn, dict) and ("role" in turn or "from" in turn):
                said = str(turn.get("role") or turn.get("from")).lower()
                mine = {*read, *REFERENCES} if said in TOOL else read
                other = [key for key, found in turn.items() if key not in mine and not is_nothing(found)]
                counts.update(key for key in other if key not in (*WEIGHTS, *MASKS))
                if said in NEVER_LEARNED:
                    counts.update(f"{key} of {said}" for key in other if _asks_to_learn(key, turn[key]))
    return counts


def _asks_to_learn(key: str, value: object) -> bool:
    """Return whether a weight is not 0, or a mask is not 1; values that are neither 0 nor 1 count as well."""
    verdict = str(value).lower()
    return (key in WEIGHTS and verdict not in NO) or (key in MASKS and verdict not in YES)


def _turns_in(value: object) -> Sequence[object]:
    """Return the items of a list, of `messages` in an object (OpenAI's `input`), or the value alone."""
    inner = value.get("messages", value) if isinstance(value, dict) else value
    return inner if isinstance(inner, list) else [inner]
