"""`prompt` and `completion` (or `response`) as strings: one user turn and its answer."""

from boresight.core.schema import Demonstration
from boresight.data.build import assistant, demonstration, user
from boresight.data.columns import PAIR_COLUMNS, Record, has_text, lacks, text

TITLE = "plain-string prompts and answers"
KIND = "demonstration"
COLUMNS = ("prompt", "completion")

ANSWERS = ("completion", "response")


def matches(record: Record) -> bool:
    unlabelled = not isinstance(record.get("label"), bool)
    one = sum(has_text(record, answer) for answer in ANSWERS) == 1
    return has_text(record, "prompt") and one and unlabelled and lacks(record, PAIR_COLUMNS)


def read(record: Record, id: str) -> Demonstration:
    answer = "response" if "completion" not in record and "response" in record else "completion"
    messages = [user(text(record, "prompt")), assistant(text(record, answer))]
    return demonstration(record, id, messages, ("prompt", answer))
