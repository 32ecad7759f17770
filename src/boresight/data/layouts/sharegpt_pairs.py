"""Layout of pairs of LLaMA-Factory and axolotl: a conversation, and the columns `chosen` and `rejected`.

The turns up to the user's last one are in `conversations`, `messages` or `prompt`. Each answer is a message
or text.
"""

from boresight.core.schema import Message, Preference
from boresight.data.build import assistant, preference
from boresight.data.columns import Record, first, has_text, has_turns, is_message
from boresight.data.reading import names
from boresight.data.reading.turns import BadField, check_text, to_messages

TITLE = "ShareGPT conversations with a chosen and a rejected answer"
KIND = "preference"
COLUMNS = ("conversations", "chosen", "rejected")
ASKED = ("conversations", "messages", "prompt")
"""Columns that may contain the turns before the answers, in order of preference."""


def matches(record: Record) -> bool:
    answers = (record.get("chosen"), record.get("rejected"))
    if not any(has_turns(record, column) for column in ASKED):
        return False
    texts = has_text(record, *COLUMNS[1:]) and first(record, (*names.PROMPT, "instruction")) is None
    return texts or all(is_message(answer) for answer in answers)


def read(record: Record, id: str) -> Preference:
    asked = next((column for column in ASKED if has_turns(record, column)), COLUMNS[0])
    prompt = to_messages(record.get(asked), asked)
    turns = (prompt, _answer(record, "chosen"), _answer(record, "rejected"))
    return preference(record, id, turns, (asked, *COLUMNS[1:]))


def _answer(record: Record, column: str) -> list[Message]:
    if column not in record:
        raise BadField(column, "is missing")
    value = record[column]
    return [assistant(check_text(value, column))] if isinstance(value, str) else to_messages([value], column)
