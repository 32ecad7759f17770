"""LLaMA-Factory's ShareGPT pairs: `conversations` up to the user's turn, two answers as messages."""

from boresight.core.schema import Message, Preference
from boresight.data.build import preference
from boresight.data.columns import Record, has_turns, is_message
from boresight.data.reading.turns import BadField, to_messages

TITLE = "ShareGPT conversations with a chosen and a rejected answer"
KIND = "preference"
COLUMNS = ("conversations", "chosen", "rejected")


def matches(record: Record) -> bool:
    answers = (record.get("chosen"), record.get("rejected"))
    return has_turns(record, "conversations") and all(is_message(answer) for answer in answers)


def read(record: Record, id: str) -> Preference:
    prompt = to_messages(record.get("conversations"), "conversations")
    turns = (prompt, _answer(record, "chosen"), _answer(record, "rejected"))
    return preference(record, id, turns, COLUMNS)


def _answer(record: Record, column: str) -> list[Message]:
    if column not in record:
        raise BadField(column, "is missing")
    return to_messages([record[column]], column)
