"""Layout of TRL's explicit preferences: the lists of messages `prompt`, `chosen` and `rejected`.

It is also the canonical form of preference pairs.
"""

from boresight.core.schema import Preference
from boresight.data.build import preference
from boresight.data.columns import Record, has_turns
from boresight.data.reading.turns import after_prompt, to_messages

TITLE = "TRL chat pairs, explicit prompt"
KIND = "preference"
COLUMNS = ("prompt", "chosen", "rejected")


def matches(record: Record) -> bool:
    return has_turns(record, *COLUMNS)


def read(record: Record, id: str) -> Preference:
    prompt, chosen, rejected = (to_messages(record.get(column), column) for column in COLUMNS)
    return preference(
        record, id, (prompt, after_prompt(prompt, chosen), after_prompt(prompt, rejected)), COLUMNS
    )
