"""ShareGPT, Vicuna, Magpie: `conversations` of `{"from": "human", "value": …}`, ending with the model."""

from boresight.core.schema import Demonstration
from boresight.data.build import demonstration
from boresight.data.columns import Record, has_turns, is_plain
from boresight.data.reading.turns import to_messages

TITLE = "ShareGPT conversations"
KIND = "demonstration"
COLUMNS = ("conversations",)


def matches(record: Record) -> bool:
    return has_turns(record, "conversations") and is_plain(record)


def read(record: Record, id: str) -> Demonstration:
    messages = to_messages(record.get("conversations"), "conversations")
    return demonstration(record, id, messages, COLUMNS)
