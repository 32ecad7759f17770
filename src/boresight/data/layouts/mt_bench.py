"""Layout of MT-Bench and Vicuna-Bench questions: `turns`, the successive questions of one user.

The prompt is the first question. The others are stored as `meta["later_turns"]`, because they cannot be part
of a prompt before the first one has an answer.
"""

from boresight.core.schema import Prompt
from boresight.data.build import prompt, user
from boresight.data.columns import ANSWER_COLUMNS, Record, lacks
from boresight.data.reading.turns import BadField, check_text

TITLE = "MT-Bench questions, first turn"
KIND = "prompt"
COLUMNS = ("turns",)


def matches(record: Record) -> bool:
    turns = record.get("turns")
    return (
        isinstance(turns, list)
        and bool(turns)
        and isinstance(turns[0], str)
        and lacks(record, ANSWER_COLUMNS)
    )


def read(record: Record, id: str) -> Prompt:
    turns = record.get("turns")
    if not isinstance(turns, list) or not turns:
        raise BadField("turns", "is not a list of questions")
    first, *later = (check_text(turn, "turns", f"turn {n}") for n, turn in enumerate(turns, 1))
    example = prompt(record, id, [user(first)], COLUMNS)
    if later:
        example.meta["later_turns"] = later
    return example
