"""Build validated examples from messages: the constructors that the layouts call."""

from __future__ import annotations

from typing import Any, cast

from boresight.core.schema import Demonstration, Message, Preference, Prompt
from boresight.data.columns import (
    Record,
    extras,
    first,
    is_message,
    label_column,
    label_value,
    optional_text,
    read_label,
    scores,
)
from boresight.data.reading import names
from boresight.data.reading.message_keys import MEDIA, OF_CONVERSATION, of_conversation
from boresight.data.reading.turns import (
    BadField,
    check_completion,
    check_prompt,
    check_scored,
    check_text,
    to_messages,
)


def user(content: str) -> Message:
    """Return a message of the user."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """Return a message of the assistant."""
    return {"role": "assistant", "content": content}


def preference(
    record: Record,
    id: str,
    turns: tuple[list[Message], list[Message], list[Message]],
    columns: tuple[str, ...],
    also: tuple[str, ...] = (),
) -> Preference:
    """Build a preference pair from the turns `(prompt, chosen, rejected)`.

    If the record has a column with the system prompt, that prompt becomes the first turn.

    Args:
        record: the raw row.
        id: id of the pair.
        turns: messages of the prompt, the chosen and the rejected answer.
        columns: columns that the turns were read from, named in errors: prompt, chosen, rejected, or only
            chosen and rejected if the prompt is implicit.
        also: other columns that the turns were read from; they are not copied to `meta`.

    Raises:
        BadField: the prompt is empty or does not end with the user, or an answer does not begin and end with
            the assistant.
    """
    prompt, chosen, rejected = turns
    prompt, also = _opened(record, prompt, also)
    check_completion(chosen, columns[-2])
    check_completion(rejected, columns[-1])
    check_scored(chosen, columns[-2])
    check_scored(rejected, columns[-1])
    check_prompt(prompt, columns[0])
    better, worse = scores(record)
    return Preference(prompt, chosen, rejected, id, better, worse, extras(record, columns + also))


def demonstration(
    record: Record,
    id: str,
    messages: list[Message],
    columns: tuple[str, ...],
    also: tuple[str, ...] = (),
) -> Demonstration:
    """Build a demonstration from a conversation that ends with an assistant's turn after a user's.

    Raises:
        BadField: the conversation does not end so (the error names the last of `columns`), or a label marks
            the answer as good or bad: only the layout `unpaired` reads labels.
    """
    label = label_column(record)
    if label is not None and read_label(label_value(record, label)) is not None:
        raise BadField(
            label,
            "marks the answer as good or bad; read such rows with data.layout=unpaired, or rename the column "
            "if it judges no answer",
        )
    messages, also = _opened(record, messages, also)
    check_completion(messages[-1:], columns[-1])
    check_scored(messages, columns[-1])
    first = next(n for n, message in enumerate(messages) if message["role"] == "assistant")
    check_prompt(messages[:first], columns[0])
    as_text = isinstance(record.get(columns[0]), str)
    return Demonstration(messages, id, extras(record, columns + also), as_text)


def prompt(
    record: Record,
    id: str,
    messages: list[Message],
    columns: tuple[str, ...],
    also: tuple[str, ...] = (),
) -> Prompt:
    """Build a prompt from a conversation that ends before an assistant's turn.

    Raises:
        BadField: the last turn is not the user's or the result of a tool call.
    """
    messages, also = _opened(record, messages, also)
    check_prompt(messages, columns[0])
    as_text = isinstance(record.get(columns[0]), str)
    return Prompt(messages, id, extras(record, columns + also), as_text)


def _opened(
    record: Record, messages: list[Message], also: tuple[str, ...]
) -> tuple[list[Message], tuple[str, ...]]:
    """Add the history, the system prompt and the template options of a record to its messages.

    Returns the messages, and `also` extended by the columns that were read.

    Raises:
        BadField: the messages begin with another system prompt, the record has a column of images, or its
            tools cannot be read.
    """
    media = next((c for c in MEDIA if isinstance(record.get(c), list | dict | bytes) and record[c]), None)
    if media:
        raise BadField(media, "is not text; only text can be aligned here")
    messages, also = _with_history(record, messages, also)
    messages, also = _with_system(record, messages, also)
    try:
        options = of_conversation(record)
    except ValueError as error:
        raise BadField("record", str(error)) from None
    if options and messages:
        messages = [cast("Message", {**messages[0], **options}), *messages[1:]]
    return messages, (*also, *OF_CONVERSATION)


def _with_history(
    record: Record, messages: list[Message], also: tuple[str, ...]
) -> tuple[list[Message], tuple[str, ...]]:
    """Put the earlier rounds in the column `history` before the messages.

    Applies to a single question, with or without its answer. A list of other values is not a history, and the
    column is ignored beside a conversation.

    Raises:
        BadField: a round is not a pair of texts, or a message cannot be read.
    """
    rounds, asked = record.get(names.HISTORY), [message["role"] for message in messages]
    if not isinstance(rounds, list) or not all(isinstance(part, list | dict) for part in rounds):
        return messages, also
    if asked not in (["user"], ["user", "assistant"]):
        return messages, also
    return [*_rounds(rounds), *messages], (*also, names.HISTORY)


def _rounds(rounds: list[Any]) -> list[Message]:
    """Convert a history, which is a list of pairs of texts or of messages, to messages."""
    if rounds and all(map(is_message, rounds)):
        return to_messages(rounds, names.HISTORY)
    if not all(isinstance(part, list) and len(part) == 2 for part in rounds):
        raise BadField(names.HISTORY, "is not a list of [question, answer] pairs, nor of messages")
    texts = [
        [check_text(said, names.HISTORY, f"round {n}") for said in part] for n, part in enumerate(rounds, 1)
    ]
    return [message for question, answer in texts for message in (user(question), assistant(answer))]


def _with_system(
    record: Record, messages: list[Message], also: tuple[str, ...]
) -> tuple[list[Message], tuple[str, ...]]:
    """Put the system prompt of its own column before the messages, and add that column to `also`.

    Raises:
        BadField: the messages begin with another system prompt.
    """
    column = first(record, names.SYSTEM)
    if column is None:
        return messages, also
    system = optional_text(record, column)
    own = messages[0]["content"] if messages and messages[0]["role"] == "system" else None
    if system and own is None:
        messages = [{"role": "system", "content": system}, *messages]
    elif system and own != system:
        raise BadField(column, "is another system prompt than the one in the messages; keep one of them")
    return messages, (*also, column)
