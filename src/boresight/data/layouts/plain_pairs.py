"""`prompt`, `chosen`, `rejected` as strings: one user turn and two answers, taken letter by letter."""

from boresight.core.schema import Preference
from boresight.data.build import assistant, preference, user
from boresight.data.columns import Record, has_text, text
from boresight.data.layouts import hh_rlhf

TITLE = "plain-string pairs"
KIND = "preference"
COLUMNS = ("prompt", "chosen", "rejected")


def matches(record: Record) -> bool:
    return has_text(record, *COLUMNS) and not hh_rlhf.matches(record)


def read(record: Record, id: str) -> Preference:
    prompt, chosen, rejected = (text(record, column) for column in COLUMNS)
    return preference(record, id, ([user(prompt)], [assistant(chosen)], [assistant(rejected)]), COLUMNS)
