"""Layout of TRL's chat demonstrations: `prompt` and `completion`, two lists of messages."""

from boresight.core.schema import Demonstration
from boresight.data.build import demonstration
from boresight.data.columns import Record, has_turns, is_plain
from boresight.data.reading.turns import check_completion, check_prompt, to_messages

TITLE = "TRL chat prompt and completion"
KIND = "demonstration"
COLUMNS = ("prompt", "completion")


def matches(record: Record) -> bool:
    return has_turns(record, *COLUMNS) and is_plain(record)


def read(record: Record, id: str) -> Demonstration:
    prompt, completion = (to_messages(record.get(column), column) for column in COLUMNS)
    check_prompt(prompt, "prompt")
    check_completion(completion, "completion")
    return demonstration(record, id, prompt + completion, COLUMNS)
