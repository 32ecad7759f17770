"""KTO-like feedback: one answer in any layout of demonstrations, and a label that says whether it is good.

The label, true or false, stays in `meta["label"]`, where the reader finds it when asked for demonstrations.
"""

from types import ModuleType

from boresight.core.schema import Demonstration
from boresight.data.columns import Record, label_column, read_label
from boresight.data.layouts import (
    alpaca,
    messages,
    plain_answers,
    question_answer,
    seed_tasks,
    sharegpt,
    trl_answers,
)
from boresight.data.reading.turns import BadField

TITLE = "unpaired feedback, answers labelled true or false"
KIND = "unpaired"
COLUMNS = ("messages", "label")

ANSWERS = (messages, trl_answers, plain_answers, sharegpt, alpaca, question_answer, seed_tasks)


def matches(record: Record) -> bool:
    column = label_column(record)
    return column is not None and _layout(_without(record, column)) is not None


def read(record: Record, id: str) -> Demonstration:
    column = label_column(record) or COLUMNS[1]
    good = read_label(record.get(column))
    if good is None:
        raise BadField(
            column,
            f"is {record.get(column)!r}, neither true nor false; rename the column if it judges no answer",
        )
    answered = _without(record, column)
    example = (_layout(answered) or messages).read(answered, id)
    return Demonstration(example.messages, example.id, {**example.meta, "label": good})


def _without(record: Record, column: str) -> Record:
    return {name: value for name, value in record.items() if name != column}


def _layout(record: Record) -> ModuleType | None:
    return next((layout for layout in ANSWERS if layout.matches(record)), None)
