"""Layout of Stack Exchange pairs: `question`, the better answer `response_j`, the worse one `response_k`."""

from boresight.core.schema import Preference
from boresight.data.build import assistant, preference, user
from boresight.data.columns import Record, has_text, text

TITLE = "Stack Exchange questions with two answers"
KIND = "preference"
COLUMNS = ("question", "response_j", "response_k")


def matches(record: Record) -> bool:
    return has_text(record, *COLUMNS)


def read(record: Record, id: str) -> Preference:
    question, better, worse = (text(record, column) for column in COLUMNS)
    return preference(record, id, ([user(question)], [assistant(better)], [assistant(worse)]), COLUMNS)
