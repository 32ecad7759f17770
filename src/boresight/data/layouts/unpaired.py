"""KTO-like feedback: one answer (`messages`, or `prompt` and `completion`) and a `label`, true or false.

The label stays in `meta`, where the reader finds it when asked for demonstrations.
"""

from boresight.core.schema import Demonstration
from boresight.data.columns import PAIR_COLUMNS, Record, has_text, has_turns, lacks
from boresight.data.layouts import messages, plain_answers, trl_answers
from boresight.data.reading.turns import BadField

TITLE = "unpaired feedback, answers labelled true or false"
KIND = "unpaired"
COLUMNS = ("messages", "label")


def matches(record: Record) -> bool:
    return isinstance(record.get("label"), bool) and lacks(record, PAIR_COLUMNS) and _answers(record)


def _answers(record: Record) -> bool:
    both = ("prompt", "completion")
    return has_turns(record, "messages") or has_text(record, *both) or has_turns(record, *both)


def read(record: Record, id: str) -> Demonstration:
    if not isinstance(record.get("label"), bool):
        raise BadField("label", "is not true or false")
    if "messages" in record:
        return messages.read(record, id)
    return (plain_answers if has_text(record, "prompt") else trl_answers).read(record, id)
