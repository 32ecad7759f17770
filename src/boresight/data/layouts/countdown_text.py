"""Layout of Countdown problems as text: `input` is "30,100,93" and `output`, the target, is "23".

The test set of d1 has this layout. The prompts are the same as those of the layout `countdown`.
"""

import re

from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.build import prompt
from boresight.data.columns import ANSWER_COLUMNS, Record, has_text, lacks, text
from boresight.data.reading.turns import BadField
from boresight.tasks import countdown

TITLE = "Countdown problems as text"
KIND = "prompt"
COLUMNS = ("input", "output")

NUMBERS, TARGET = re.compile(r"[0-9]+(,[0-9]+)+"), re.compile(r"[0-9]+")


def matches(record: Record) -> bool:
    more = {"prompt", "instruction", "question", *ANSWER_COLUMNS} - {*COLUMNS}
    if not has_text(record, *COLUMNS) or not lacks(record, more):
        return False
    return bool(NUMBERS.fullmatch(record["input"]) and TARGET.fullmatch(record["output"]))


def read(record: Record, id: str) -> Prompt:
    try:
        problem = countdown.problem_of({name: text(record, name) for name in COLUMNS}, "this row")
    except UserError as error:
        raise BadField("input", f"and `output` are no problem ({error})") from None
    asked = prompt(record, id, countdown.countdown_prompt(problem).prompt, COLUMNS)
    return Prompt(asked.prompt, id, {**asked.meta, **problem.meta})
