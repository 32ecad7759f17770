"""Layout of instructions without outputs, such as AlpacaEval: `instruction` and optionally `input`."""

from boresight.core.schema import Prompt
from boresight.data.build import prompt
from boresight.data.columns import ANSWER_COLUMNS, Record, has_text, lacks
from boresight.data.layouts.alpaca import OPTIONAL, asked

TITLE = "instructions without outputs"
KIND = "prompt"
COLUMNS = ("instruction",)


def matches(record: Record) -> bool:
    return has_text(record, "instruction") and lacks(record, ANSWER_COLUMNS) and "prompt" not in record


def read(record: Record, id: str) -> Prompt:
    return prompt(record, id, [asked(record)], COLUMNS, OPTIONAL)
