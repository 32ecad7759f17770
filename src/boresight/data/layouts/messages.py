"""`messages`, as TRL, SmolTalk, OpenAI's fine-tuning files and the canonical demonstrations have them."""

from boresight.core.schema import Demonstration
from boresight.data.build import demonstration
from boresight.data.columns import PAIR_COLUMNS, Record, has_turns, lacks
from boresight.data.reading.turns import to_messages

TITLE = "chat messages"
KIND = "demonstration"
COLUMNS = ("messages",)


def matches(record: Record) -> bool:
    unlabelled = not isinstance(record.get("label"), bool)
    return has_turns(record, "messages") and unlabelled and lacks(record, PAIR_COLUMNS)


def read(record: Record, id: str) -> Demonstration:
    return demonstration(record, id, to_messages(record.get("messages"), "messages"), COLUMNS)
