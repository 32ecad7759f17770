"""Layout of HelpSteer3: a conversation in `context`, and the responses `response1` and `response2`.

`overall_preference` is negative if the first response is better and positive if the second is, from -3 to 3.
A row with 0 is malformed, since no pair can be made of it.
"""

from boresight.core.schema import Preference
from boresight.data.build import assistant, preference
from boresight.data.columns import Record, finite_number, has_text, has_turns, text
from boresight.data.reading.turns import BadField, to_messages

TITLE = "HelpSteer3 conversations with two responses"
KIND = "preference"
COLUMNS = ("context", "response1", "response2")
OPTIONAL = ("overall_preference",)


def matches(record: Record) -> bool:
    return has_turns(record, "context") and has_text(record, *COLUMNS[1:])


def read(record: Record, id: str) -> Preference:
    context = to_messages(record.get("context"), "context")
    answers = [[assistant(text(record, column))] for column in COLUMNS[1:]]
    value = record.get("overall_preference")
    preferred = finite_number(value)
    if not preferred:
        raise BadField(
            "overall_preference", f"is {repr(value)[:40]}, so that neither response is the better one"
        )
    chosen, rejected = answers if preferred < 0 else answers[::-1]
    return preference(record, id, (context, chosen, rejected), COLUMNS, OPTIONAL)
