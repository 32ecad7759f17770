"""Layout of ShareGPT, Vicuna and Magpie: `conversations`, a list of `{"from": "human", "value": …}`.

The last turn is the model's. In LMSYS-Chat-1M and WildChat the column is `conversation`, and its turns have
`role` and `content`.
"""

from boresight.core.schema import Demonstration
from boresight.data.build import demonstration
from boresight.data.columns import Record, has_turns, is_plain, lacks
from boresight.data.reading import names
from boresight.data.reading.turns import to_messages

TITLE = "ShareGPT conversations"
KIND = "demonstration"
COLUMNS = ("conversations",)
SINGULAR = "conversation"


def matches(record: Record) -> bool:
    alone = has_turns(record, SINGULAR) and lacks(record, (*COLUMNS, "messages", *names.PROMPT))
    return (has_turns(record, *COLUMNS) or alone) and is_plain(record)


def read(record: Record, id: str) -> Demonstration:
    column = SINGULAR if lacks(record, COLUMNS) and SINGULAR in record else COLUMNS[0]
    return demonstration(record, id, to_messages(record.get(column), column), (column,))
