"""Layout of conversations in the column `messages`.

TRL, SmolTalk, OpenAI's fine-tuning files and canonical demonstrations have it.
"""

from boresight.core.schema import Demonstration
from boresight.data.build import demonstration
from boresight.data.columns import Record, has_turns, is_plain
from boresight.data.layouts import trl_prompts
from boresight.data.reading.turns import to_messages

TITLE = "chat messages"
KIND = "demonstration"
COLUMNS = ("messages",)


def matches(record: Record) -> bool:
    return has_turns(record, "messages") and is_plain(record) and not trl_prompts.is_problem(record)


def read(record: Record, id: str) -> Demonstration:
    return demonstration(record, id, to_messages(record.get("messages"), "messages"), COLUMNS)
