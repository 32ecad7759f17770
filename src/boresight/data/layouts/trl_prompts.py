"""Layout of TRL's chat prompts: `prompt` as a list of messages. It is also the canonical form of prompts.

A gold `answer` or `solution` in another column is stored in `meta`. Problems of RLVR data sets are read too:
they have the turns in `messages`, and the reference answer of a verifier in `ground_truth` or `reward_model`.
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
    """Return whether `messages` ends with the user's turn and another column is meant for a verifier."""
    if not has_turns(record, MESSAGES) or lacks(record, names.REFERENCE):
        return False
    last = record[MESSAGES][-1]
    return isinstance(last, dict) and last.get("role") == "user"


def read(record: Record, id: str) -> Prompt:
    column = MESSAGES if is_problem(record) and "prompt" not in record else COLUMNS[0]
    return prompt(record, id, to_messages(record.get(column), column), (column,))
