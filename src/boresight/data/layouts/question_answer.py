"""Layout of GSM8K and similar data sets: `question` and `answer`."""

from boresight.core.schema import Demonstration
from boresight.data.build import assistant, demonstration, user
from boresight.data.columns import Record, has_text, is_plain, text

TITLE = "questions and answers"
KIND = "demonstration"
COLUMNS = ("question", "answer")


def matches(record: Record) -> bool:
    return has_text(record, *COLUMNS) and is_plain(record)


def read(record: Record, id: str) -> Demonstration:
    messages = [user(text(record, "question")), assistant(text(record, "answer"))]
    return demonstration(record, id, messages, COLUMNS)
