"""TRL's chat prompts, which are also the canonical ones: `prompt` as a list of messages.

A gold `answer` or `solution` beside it goes to `meta`.
"""

from boresight.core.schema import Prompt
from boresight.data.build import prompt
from boresight.data.columns import ANSWER_COLUMNS, Record, has_turns, lacks
from boresight.data.reading import names
from boresight.data.reading.turns import to_messages

TITLE = "TRL chat prompts"
KIND = "prompt"
COLUMNS = ("prompt",)


def matches(record: Record) -> bool:
    return has_turns(record, "prompt") and lacks(record, ANSWER_COLUMNS - {names.GOLD, names.SOLUTION})


def read(record: Record, id: str) -> Prompt:
    return prompt(record, id, to_messages(record.get("prompt"), "prompt"), COLUMNS)
