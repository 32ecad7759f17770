"""A bare `prompt` string, as IFEval and most problem sets have it."""

from boresight.core.schema import Prompt
from boresight.data.build import prompt, user
from boresight.data.columns import ANSWER_COLUMNS, Record, has_text, lacks, text

TITLE = "plain strings"
KIND = "prompt"
COLUMNS = ("prompt",)


def matches(record: Record) -> bool:
    return has_text(record, "prompt") and lacks(record, ANSWER_COLUMNS)


def read(record: Record, id: str) -> Prompt:
    return prompt(record, id, [user(text(record, "prompt"))], COLUMNS)
