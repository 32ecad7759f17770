"""Layout of LLaMA-Factory's Alpaca pairs: `instruction`, optional `input`, `chosen`, `rejected`."""

from boresight.core.schema import Preference
from boresight.data.build import assistant, preference
from boresight.data.columns import Record, has_text, text
from boresight.data.layouts.alpaca import OPTIONAL, asked

TITLE = "Alpaca instructions with a chosen and a rejected answer"
KIND = "preference"
COLUMNS = ("instruction", "chosen", "rejected")


def matches(record: Record) -> bool:
    return has_text(record, "instruction", "chosen", "rejected") and "prompt" not in record


def read(record: Record, id: str) -> Preference:
    chosen, rejected = ([assistant(text(record, column))] for column in COLUMNS[1:])
    return preference(record, id, ([asked(record)], chosen, rejected), COLUMNS, OPTIONAL)
