"""Layout of unpaired feedback, as KTO uses it: one answer, and a label that is good or bad.

Prompt and answer are in any layout of demonstrations. The label judges the turns after the prompt: TRL's
`completion`, and in other layouts the turns after the user's last one.
"""

from types import ModuleType

from boresight.core.schema import Labeled
from boresight.data.columns import Record, label_column, label_value, read_label, without_label
from boresight.data.layouts import (
    alpaca,
    messages,
    plain_answers,
    question_answer,
    seed_tasks,
    sharegpt,
    trl_answers,
)
from boresight.data.reading import names
from boresight.data.reading.turns import BadField, check_scored, to_messages

TITLE = "unpaired feedback, answers labeled true or false"
KIND = "labeled"
COLUMNS = ("messages", "label")

INCOMPLETE = (messages, trl_answers, plain_answers, sharegpt, alpaca, question_answer, seed_tasks)
"""Layouts of the prompt and the answer. In a file of this layout, a row of one of them lacks its label."""


def matches(record: Record) -> bool:
    column = label_column(record)
    return column is not None and _layout(without_label(record, column)) is not None


def read(record: Record, id: str) -> Labeled:
    column = label_column(record)
    if column is None:
        others = ", ".join(names.LABEL[1:])
        raise BadField(COLUMNS[1], f"is missing, or a column with another name of it ({others})")
    value = label_value(record, column)
    good = read_label(value)
    if good is None:
        raise BadField(
            column,
            f"is {repr(value)[:40]}, neither true nor false; rename the column if it judges no answer",
        )
    answered = without_label(record, column)
    layout = _layout(answered) or messages
    example = layout.read(answered, id)
    turns = example.messages
    if layout is trl_answers:
        start = len(turns) - len(to_messages(answered["completion"], "completion"))
    else:
        start = 1 + max(n for n, message in enumerate(turns) if message["role"] in ("user", "tool"))
    check_scored(turns[start:], layout.COLUMNS[-1])
    return Labeled(turns[:start], turns[start:], good, example.id, example.meta, example.as_text)


def _layout(record: Record) -> ModuleType | None:
    return next((layout for layout in INCOMPLETE if layout.matches(record)), None)
