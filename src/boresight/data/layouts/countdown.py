"""Layout of Countdown problems without a prompt: `nums` or `numbers`, and `target`.

The prompt gets the public chat wording. Numbers and target are stored in `meta`, where rewards read them.
"""

from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.build import prompt
from boresight.data.columns import ANSWER_COLUMNS, Record, lacks
from boresight.data.reading.turns import BadField
from boresight.tasks import countdown

TITLE = "Countdown problems"
KIND = "prompt"
COLUMNS = ("nums", "target")
OPTIONAL = ("numbers",)


def matches(record: Record) -> bool:
    numbers = record.get("nums", record.get("numbers"))
    return isinstance(numbers, list) and "target" in record and lacks(record, {"prompt", *ANSWER_COLUMNS})


def read(record: Record, id: str) -> Prompt:
    try:
        problem = countdown.problem_of(record, "this row")
    except UserError as error:
        raise BadField("nums", f"and `target` are no problem ({error})") from None
    asked = prompt(record, id, countdown.countdown_prompt(problem).prompt, COLUMNS, OPTIONAL)
    return Prompt(asked.prompt, id, {**asked.meta, **problem.meta})
