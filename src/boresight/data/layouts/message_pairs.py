"""Layout of LLaMA-Factory's v1 pairs: `chosen_messages` and `rejected_messages`.

The content of a message is a list of typed parts.
"""

from boresight.core.schema import Preference
from boresight.data.build import preference
from boresight.data.columns import Record, has_turns
from boresight.data.reading.turns import split_pair, to_messages

TITLE = "LLaMA-Factory v1 message pairs, implicit prompt"
KIND = "preference"
COLUMNS = ("chosen_messages", "rejected_messages")


def matches(record: Record) -> bool:
    return has_turns(record, *COLUMNS)


def read(record: Record, id: str) -> Preference:
    chosen, rejected = (to_messages(record.get(column), column) for column in COLUMNS)
    return preference(record, id, split_pair(chosen, rejected), COLUMNS)
