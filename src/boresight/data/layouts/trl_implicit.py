"""Layout of TRL's implicit preferences: the conversations `chosen` and `rejected`.

The messages that both have in common at the beginning are the prompt.
"""

from boresight.core.schema import Preference
from boresight.data.build import preference
from boresight.data.columns import Record, has_turns
from boresight.data.reading.turns import split_pair, to_messages

TITLE = "TRL chat pairs, implicit prompt"
KIND = "preference"
COLUMNS = ("chosen", "rejected")


def matches(record: Record) -> bool:
    return has_turns(record, *COLUMNS) and "prompt" not in record and "conversations" not in record


def read(record: Record, id: str) -> Preference:
    chosen, rejected = (to_messages(record.get(column), column) for column in COLUMNS)
    return preference(record, id, split_pair(chosen, rejected), COLUMNS)
