"""Layout of UltraFeedback-binarized: conversations in `chosen` and `rejected`, and `prompt` as a string.

Turns are read from the conversations; the string is only compared with them. The column `messages`, which
equals `chosen` in the original data, is dropped.
"""

from boresight.core.schema import Message, Preference
from boresight.data.build import preference, user
from boresight.data.columns import Record, has_text, has_turns, text
from boresight.data.reading.turns import BadField, split_pair, to_messages

TITLE = "UltraFeedback conversations with the prompt beside"
KIND = "preference"
COLUMNS = ("prompt", "chosen", "rejected")


def matches(record: Record) -> bool:
    return has_text(record, "prompt") and has_turns(record, "chosen", "rejected")


def read(record: Record, id: str) -> Preference:
    said = text(record, "prompt")
    chosen, rejected = (to_messages(record.get(column), column) for column in COLUMNS[1:])
    if chosen[0]["role"] == rejected[0]["role"] == "assistant":
        turns = ([user(said)], chosen, rejected)
    else:
        turns = split_pair(chosen, rejected)
        _agrees(said, turns[0])
    return preference(_without_copy(record), id, turns, COLUMNS)


def _agrees(said: str, prompt: list[Message]) -> None:
    """Check that the string is one of the user's turns, or a text that contains the last of them.

    Raises:
        BadField: it is neither.
    """
    turns = [message["content"].strip() for message in prompt if message["role"] == "user"]
    if turns and said.strip() not in turns and turns[-1] not in said:
        raise BadField("prompt", "differs from the user's turn in `chosen` and `rejected`")


def _without_copy(record: Record) -> Record:
    if record.get("messages") != record.get("chosen"):
        return record
    return {column: value for column, value in record.items() if column != "messages"}
