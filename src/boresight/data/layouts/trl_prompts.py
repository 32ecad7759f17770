"""TRL's chat prompts, which are also the canonical ones: `prompt` as a list of messages.

A gold `answer` or `solution` beside it goes to `meta`. Problems of RLVR sets have the turns in `messages`,
and what a verifier compares with in `ground_truth`.
"""

from boresight.core.schema import Prompt
from boresight.data.build import prompt
from boresight.data.columns import ANSWER_COLUMNS, Record, has_turns, lacks
from boresight.data.reading import names
from boresight.data.reading.turns import to_messages

TITLE = "TRL chat prompts"
KIND = "prompt"
COLUMNS = ("prompt",)
MESSAGES = "messages"
GIVEN = frozenset([names.GOLD, names.SOLUTION])


def matches(record: Record) -> bool:
    if has_turns(record, "prompt"):
        return lacks(record, ANSWER_COLUMNS - GIVEN)
    return is_problem(record) and lacks(record, ANSWER_COLUMNS - GIVEN - {MESSAGES})


def is_problem(record: Record) -> bool:
    """Whether `messages` end with the user's turn and a column beside them is for a verifier."""
    if not has_turns(record, MESSAGES) or lacks(record, names.REFERENCE):
        return False
    last = record[MESSAGES][-1]
    return isinstance(last, dict) and last.get("role") == "user"


def read(record: Record, id: str) -> Prompt:
    column = MESSAGES if is_problem(record) and "prompt" not in record else COLUMNS[0]
    return prompt(record, id, to_messages(record.get(column), column), (column,))
