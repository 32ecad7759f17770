"""Records that a file holds in another shape: tables by column or by index, and lists written as text."""

from __future__ import annotations

import ast
import json
from typing import Any

from boresight.data.columns import Record, is_message

AS_TEXT = ("messages", "conversations", "prompt", "chosen", "rejected", "completion", "nums", "numbers")
"""Columns that hold lists, which CSV files and some sets write as text."""

LONGEST = 1_000_000
"""Characters of a Python literal that is read; reading one takes many times its size in memory."""


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
    """The record with lists that are written as JSON, or as Python prints them, as lists."""
    found = {c: made for c in AS_TEXT if c in record and (made := _list(record[c])) is not None}
    return {**record, **found} if found else record


def _list(value: object) -> list[Any] | None:
    """Messages or numbers that text says; None for other text."""
    if not isinstance(value, str) or len(value) > LONGEST:
        return None
    text = value.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        made = json.loads(text)
    except (ValueError, RecursionError):
        made = _literal(text)
    if not isinstance(made, list) or not made:
        return None
    messages = all(is_message(item) for item in made)
    return made if messages or all(type(item) is int for item in made) else None


def _literal(text: str) -> object:
    """A Python literal; nothing in it is run."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
