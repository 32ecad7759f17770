"""Layout of a bare prompt as a string, as in IFEval and most problem sets.

A gold answer that is not text, such as a number, is stored in `meta` with the other columns.
"""

from boresight.core.schema import Prompt
from boresight.data.build import prompt, user
from boresight.data.columns import ANSWER_COLUMNS, Record, first, has_text, lacks, text
from boresight.data.reading import names

TITLE = "plain strings"
KIND = "prompt"
COLUMNS = ("prompt",)


def matches(record: Record) -> bool:
    asked = first(record, names.PROMPT)
    alone = lacks(record, ANSWER_COLUMNS - {names.GOLD}) and not has_text(record, names.GOLD)
    return asked is not None and alone and (asked == "prompt" or lacks(record, ("instruction", "target")))


def read(record: Record, id: str) -> Prompt:
    column = first(record, names.PROMPT) or COLUMNS[0]
    return prompt(record, id, [user(text(record, column))], (column,))
