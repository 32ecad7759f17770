"""Layout of a prompt and two answers as strings, under the names that public data sets use.

The prompt becomes one user turn; all texts are unchanged.
"""

from boresight.core.schema import Preference
from boresight.data.build import assistant, preference, user
from boresight.data.columns import Record, first, has_text, lacks, text
from boresight.data.layouts import hh_rlhf, stack_exchange
from boresight.data.reading import names

TITLE = "plain-string pairs"
KIND = "preference"
COLUMNS = ("prompt", "chosen", "rejected")


def matches(record: Record) -> bool:
    prompt = first(record, names.PROMPT)
    if prompt is None or not any(has_text(record, *pair) for pair in names.ANSWER_PAIRS):
        return False
    if prompt != "prompt" and not lacks(record, (*names.CONVERSATION, "instruction")):
        return False
    return not hh_rlhf.matches(record) and not stack_exchange.matches(record)


def read(record: Record, id: str) -> Preference:
    pairs = names.ANSWER_PAIRS
    columns = (
        first(record, names.PROMPT) or COLUMNS[0],
        *next((pair for pair in pairs if not lacks(record, pair)), pairs[0]),
    )
    prompt, chosen, rejected = (text(record, column) for column in columns)
    return preference(record, id, ([user(prompt)], [assistant(chosen)], [assistant(rejected)]), columns)
