"""Convert messages from any known format, split conversations at message boundaries, and validate them.

An implicit prompt is the part that two conversations have in common, in whole messages. Compared by
characters, a common beginning of both answers ("It is …") would become part of the prompt.
"""

from __future__ import annotations

from typing import Any, cast

from boresight.core.schema import Message, is_scored
from boresight.data.reading.message_keys import CALLS, SYSTEM, TOOL, USER, carried

ROLES = {
    **dict.fromkeys(SYSTEM, "system"),
    **dict.fromkeys(USER, "user"),
    **dict.fromkeys(["assistant", "gpt", "model", "bot", "ai", "chatgpt", "chatbot"], "assistant"),
    **dict.fromkeys(TOOL, "tool"),
}
"""Role by its spelling in public data sets, in lower case."""


TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of message parts that are text; the last two are from OpenAI's newer API."""


class BadField(Exception):
    """A row cannot be read.

    `field` is the column, and `message` completes the sentence "`field` …".
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"`{field}` {message}")
        self.field = field
        self.message = message


def check_text(value: object, field: str, where: str = "") -> str:
    """Return `value` if it is text that a tokenizer can encode.

    Args:
        value: the value of the field.
        field: name of the field.
        where: part of the field that the value is from, for the error.

    Raises:
        BadField: the value is missing, not text, empty or only white space, or has half of a surrogate pair.
    """
    subject = f"{where} " if where else ""
    if value is None:
        raise BadField(field, f"{subject}is missing")
    if not isinstance(value, str):
        raise BadField(field, f"{subject}is {type(value).__name__}, not text")
    if not value.strip():
        raise BadField(field, f"{subject}is empty")
    return _encodable(value, field, subject)


def _encodable(value: str, field: str, subject: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadField(field, f"{subject}holds half of a surrogate pair, which is not text") from None
    return value


def to_messages(value: object, field: str) -> list[Message]:
    """Convert a list with `role` and `content`, or ShareGPT's `from` and `value`, to messages.

    Content may be text or a list of text parts. The role of the result is `system`, `user`, `assistant` or
    `tool`. Other keys with content, such as tool calls and reasoning, are kept; an assistant turn with a call
    may have no text. An empty system message is kept, because some templates then omit their default system
    prompt.

    Raises:
        BadField: the value is not a list of messages, a role is unknown, or a turn is empty.
    """
    if value is None:
        raise BadField(field, "is missing")
    if not isinstance(value, list):
        raise BadField(field, f"is {type(value).__name__}, not a list of messages")
    if not value:
        raise BadField(field, "is empty")
    return [_message(turn, field, f"turn {n}") for n, turn in enumerate(value, 1)]


def _message(turn: object, field: str, where: str) -> Message:
    if not isinstance(turn, dict):
        raise BadField(field, f"{where} is {type(turn).__name__}, not a message")
    said = _first(turn, "role", "from")
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        raise BadField(field, f"{where} has the role {said!r}; known roles: {', '.join(ROLES)}")
    content = _content(_first(turn, "content", "value"), field, where)
    try:
        rest = carried(turn, role)
    except ValueError as error:
        raise BadField(field, f"{where} ({role}) {error}") from None
    wordless = role in ("system", "tool") or (role == "assistant" and any(key in rest for key in CALLS))
    if not (wordless and (content == "" or (content is None and rest))):
        content = check_text(content, field, f"{where} ({role})")
    return cast("Message", {"role": role, "content": content or "", **rest})


def _first(turn: dict[str, Any], key: str, other: str) -> Any:
    """Return the value of a key, or of its other spelling if the first is null, as in tables with both."""
    value = turn.get(key)
    return turn.get(other) if value is None else value


def _content(content: object, field: str, where: str) -> object:
    """Join the text parts of a content; return other values unchanged, for `check_text` to check."""
    if not isinstance(content, list):
        return content
    texts = [text for part in content if (text := _part(part)) is not None]
    if len(texts) < len(content):
        raise BadField(field, f"{where} has a part that is not text; only text can be aligned here")
    return "".join(texts)


def _part(part: object) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type", "text") not in TEXT_PARTS:
        return None
    text = part.get("text", part.get("value"))
    return text if isinstance(text, str) else None


def split_pair(
    chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Split two conversations into `(prompt, rest of chosen, rest of rejected)`.

    The prompt is the longest common sequence of leading messages that leaves at least one message on each
    side, so a pair of identical conversations still has its last answer on both sides.

    Raises:
        BadField: the first difference is not in an assistant turn, so the prompts differ.
    """
    shared = 0
    for one, other in zip(chosen[:-1], rejected[:-1], strict=False):
        if one != other:
            break
        shared += 1
    rest, other_rest = chosen[shared:], rejected[shared:]
    roles = {rest[0]["role"], other_rest[0]["role"]}
    if roles != {"assistant"} and rest[0] != other_rest[0]:
        raise BadField("rejected", f"has another prompt than `chosen`, from turn {shared + 1} on")
    return chosen[:shared], rest, other_rest


def after_prompt(prompt: list[Message], conversation: list[Message]) -> list[Message]:
    """Return the conversation without the messages of the prompt, if it begins with them; else unchanged."""
    repeated = len(conversation) > len(prompt) and conversation[: len(prompt)] == prompt
    return conversation[len(prompt) :] if repeated else conversation


def check_prompt(prompt: list[Message], field: str) -> None:
    """Check that a prompt ends with a turn of the user or with a tool result.

    Raises:
        BadField: it does not.
    """
    if not prompt:
        raise BadField(field, "has no prompt before the answer")
    if prompt[-1]["role"] not in ("user", "tool"):
        raise BadField(
            field, f"leaves a prompt that ends with a turn of the {prompt[-1]['role']}, not the user"
        )


def check_completion(messages: list[Message], field: str) -> None:
    """Check that a completion begins and ends with an assistant turn.

    Raises:
        BadField: it does not.
    """
    if messages[-1]["role"] != "assistant":
        raise BadField(field, f"ends with a turn of the {messages[-1]['role']}, not the assistant")
    if messages[0]["role"] != "assistant":
        raise BadField(field, f"begins with a turn of the {messages[0]['role']}, not the assistant")


def check_scored(messages: list[Message], field: str) -> None:
    """Check that at least one assistant turn is trained on.

    Raises:
        BadField: all assistant turns have weight 0.
    """
    if not any(is_scored(message) for message in messages):
        raise BadField(field, "has no turn to learn: all of the assistant's have weight 0")
