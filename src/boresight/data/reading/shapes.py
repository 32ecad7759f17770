"""Records in other forms: tables by column or by index, and lists written as text."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
import warnings
from itertools import pairwise
from typing import Any

from boresight.data.columns import Record, is_message
from boresight.data.reading.turns import BadField

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

BEGINS_AS_MESSAGES = re.compile(r"""(?:array\()?[\[(]\s*\{|\{\s*["'](?:role|content|from|value)["']\s*:""")
ROLE = re.compile(r"""["'](?:role|from)["']\s*:""")
CONTENT = re.compile(r"""["'](?:content|value)["']\s*:""")
"""Beginning and keys of text that is meant as messages, whether it can be parsed or not."""

NO_MESSAGES = (
    "looks like messages and is not valid JSON; write them with json.dumps, or the file as JSON Lines"
)
TWO_TEXTS = "has two texts with no comma between them, as numpy prints lists; write the list with json.dumps"


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
    """The record, with lists and messages parsed where they are text in JSON's or Python's notation, or as
    numpy prints them.

    Raises:
        BadField: text that is meant as messages or as a list of texts, and cannot be parsed exactly.
    """
    found = {column: value for column in (*LISTS, *MESSAGES_OR_WORDS) if (value := _read(record, column))}
    return {**record, **found} if found else record


def _read(record: Record, column: str) -> Any:
    """The list or the message that the text or the lists of a column encode; None for other values."""
    text = record.get(column)
    if isinstance(text, dict):
        return _turns(text)
    if not isinstance(text, str):
        return None
    if column not in LISTS and "role" not in text and "from" not in text:
        return None  # answers that are code or JSON are many, and need not be parsed
    made = _parsed(text, column)
    if column in LISTS:
        return made if isinstance(made, list) else None
    if isinstance(made, list):
        return made if made and all(is_message(turn) for turn in made) else None
    return made if isinstance(made, dict) and made.keys() in WHOLE_MESSAGE else None


def _turns(value: dict[str, Any]) -> list[Any] | None:
    """Messages of `{"role": […], "content": […]}`, the form that `datasets` gives a sequence; else None."""
    lists = [items for items in value.values() if isinstance(items, list)]
    if not {"role", "from"} & value.keys() or len(lists) < len(value) or len(set(map(len, lists))) != 1:
        return None
    return [dict(zip(value, turn, strict=True)) for turn in zip(*lists, strict=True)]


def _parsed(value: str, column: str) -> object:
    """The value of text in brackets, as JSON or as Python or numpy print it; None for other text."""
    text = value.strip()
    if text[:1] + text[-1:] in ("[]", "{}"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            made = _printed(text, column)
        if made is not None:
            return made
    if BEGINS_AS_MESSAGES.match(text) and ROLE.search(text) and CONTENT.search(text):
        raise BadField(column, NO_MESSAGES)
    return None


def _printed(text: str, column: str) -> object:
    """The value that Python or numpy printed; None for other text.

    Arrays have no commas. Between two objects the omission is unambiguous; between two texts it is not, since
    Python joins them.
    """
    if len(text) > LONGEST:
        return None
    made = _literal(text)
    if made is None and re.search(r"\}\s*\{", text):
        return _literal(_with_commas(_tokens(text)))
    if column in LISTS and isinstance(made, list) and re.search(r"""["']\s*["']""", text):
        _refuse_two_texts(_tokens(text), column)
    return made


def _tokens(text: str) -> list[tokenize.TokenInfo]:
    """Tokens of Python text without its line breaks; none where it has no tokens of Python."""
    try:
        found = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return []
    return [token for token in found if token.string.strip()]


def _with_commas(tokens: list[tokenize.TokenInfo]) -> str:
    """The text of the tokens, with a comma between an object and the next, where Python can have nothing."""
    parts = [", {" if (a.string, b.string) == ("}", "{") else f" {b.string}" for a, b in pairwise(tokens)]
    return "".join([token.string for token in tokens[:1]] + parts)


def _refuse_two_texts(tokens: list[tokenize.TokenInfo], column: str) -> None:
    """Raise a `BadField` where a text follows another directly in a list."""
    inside = []
    for token, after in pairwise(tokens):
        if token.string in "[{(":
            inside.append(token.string)
        elif token.string in "]})":
            inside.pop()
        elif token.type == after.type == tokenize.STRING and inside[-1:] == ["["]:
            raise BadField(column, TWO_TEXTS)


def _literal(text: str) -> object:
    """A Python literal; nothing in it is run."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in what may be no Python at all
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
