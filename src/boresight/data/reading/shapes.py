"""Records in other forms: tables by column or by index, and lists written as text."""

from __future__ import annotations

import ast
import json
import warnings
from typing import Any

from boresight.data.columns import Record, is_message

MESSAGES_OR_WORDS = ("prompt", "chosen", "rejected", "completion")
"""Columns that hold messages in some layouts and words in others."""

LISTS = ("messages", "conversations", "conversation", "chosen_messages", "rejected_messages", "history",
         "nums", "numbers", "answers", "instances", "turns", "context", "instruction_id_list", "kwargs",
         "preferred_output", "non_preferred_output")  # fmt: skip
"""Columns that hold lists, which CSV files and some sets write as text."""

WHOLE_MESSAGE = ({"role", "content"}, {"from", "value"})
"""Keys of a single message given as an answer; an answer may also be another JSON object."""

LONGEST = 1_000_000
"""Characters of a Python literal that is parsed; parsing takes many times its size in memory."""


def as_table(value: dict[str, Any]) -> list[object] | None:
    """Rows of a table by column (`datasets.to_dict`, pandas) or by index; None for anything else."""
    parts = list(value.values())
    if value and all(isinstance(part, list) and part for part in parts):
        return _by_column(value)
    if not value or not all(isinstance(part, dict) and part for part in parts):
        return None
    if all(key.isdigit() for key in value):
        return parts
    keys = list(parts[0])
    if all(key.isdigit() for key in keys) and all(list(part) == keys for part in parts):
        return [{column: part[key] for column, part in value.items()} for key in keys]
    return None


def _by_column(value: dict[str, list[Any]]) -> list[object] | None:
    cells = [cell for column in value.values() for cell in column]
    lengths = {len(column) for column in value.values()}
    records = any(isinstance(cell, dict) for cell in cells)  # messages of one row, or lists of records
    if len(lengths) > 1 or records or "turns" in value:
        return None
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def read_text(record: Record) -> Record:
    """The record, with lists and messages parsed where they are text in JSON's or Python's notation."""
    found = {column: value for column in (*LISTS, *MESSAGES_OR_WORDS) if (value := _read(record, column))}
    return {**record, **found} if found else record


def _read(record: Record, column: str) -> Any:
    """The list or the message that the text or the lists of a column encode; None for other values."""
    text = record.get(column)
    if isinstance(text, dict):
        return _turns(text)
    if column in LISTS:
        made = _parsed(text)
        return made if isinstance(made, list) else None
    if not isinstance(text, str) or ("role" not in text and "from" not in text):
        return None  # answers that are code or JSON are many, and need not be parsed
    made = _parsed(text)
    if isinstance(made, list):
        return made if made and all(is_message(turn) for turn in made) else None
    return made if isinstance(made, dict) and made.keys() in WHOLE_MESSAGE else None


def _turns(value: dict[str, Any]) -> list[Any] | None:
    """Messages of `{"role": […], "content": […]}`, the form that `datasets` gives a sequence; else None."""
    lists = [items for items in value.values() if isinstance(items, list)]
    if not {"role", "from"} & value.keys() or len(lists) < len(value) or len(set(map(len, lists))) != 1:
        return None
    return [dict(zip(value, turn, strict=True)) for turn in zip(*lists, strict=True)]


def _parsed(value: object) -> object:
    """The value of text in brackets, as JSON or as a Python literal; None for other text."""
    if not isinstance(value, str) or len(value) > LONGEST:
        return None
    text = value.strip()
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _literal(text)


def _literal(text: str) -> object:
    """A Python literal; nothing in it is run."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in what may be no Python at all
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
