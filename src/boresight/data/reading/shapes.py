"""Convert records in other forms: tables by column or by index, and lists that are stored as text."""

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
"""Columns that contain messages in some layouts and text in others."""

LISTS = ("messages", "conversations", "conversation", "chosen_messages", "rejected_messages", "history",
         "nums", "numbers", "answers", "instances", "turns", "context", "instruction_id_list", "kwargs",
         "preferred_output", "non_preferred_output")  # fmt: skip
"""Columns that contain lists, which CSV files and some data sets store as text."""

WHOLE_MESSAGE = ({"role", "content"}, {"from", "value"})
"""Keys of an answer that is a single message; an answer may also be another JSON object."""

LONGEST = 1_000_000
"""Maximum length of a Python literal that is parsed, in characters; parsing needs many times its size."""

BEGINS_AS_MESSAGES = re.compile(r"""(?:array\()?[\[(]\s*\{|\{\s*["'](?:role|content|from|value)["']\s*:""")
ROLE = re.compile(r"""["'](?:role|from)["']\s*:""")
CONTENT = re.compile(r"""["'](?:content|value)["']\s*:""")
"""Patterns of the beginning and the keys of text that is meant as messages, even if it cannot be parsed."""

NO_MESSAGES = (
    "looks like messages and is not valid JSON; write them with json.dumps, or the file as JSON Lines"
)
TWO_TEXTS = "has two texts with no comma between them, as numpy prints lists; write the list with json.dumps"


def as_table(value: dict[str, Any]) -> list[object] | None:
    """Return the rows of a table by column or by index; None for other values.

    `datasets.to_dict` and pandas write such tables.
    """
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
    """Return the record with lists and messages parsed that are stored as text.

    The text may be JSON, a Python literal, or a list as numpy prints it.

    Raises:
        BadField: text that is meant as messages or as a list of texts cannot be parsed exactly.
    """
    found = {column: value for column in (*LISTS, *MESSAGES_OR_WORDS) if (value := _read(record, column))}
    return {**record, **found} if found else record


def _read(record: Record, column: str) -> Any:
    """Return the list or the message that a column encodes; None if the value is to be kept unchanged."""
    text = record.get(column)
    if isinstance(text, dict):
        return _turns(text)
    if not isinstance(text, str):
        return None
    if column not in LISTS and "role" not in text and "from" not in text:
        return None  # many answers are code or JSON, and need not be parsed
    made = _parsed(text, column)
    if column in LISTS:
        return made if isinstance(made, list) else None
    if isinstance(made, list):
        return made if made and all(is_message(turn) for turn in made) else None
    return made if isinstance(made, dict) and made.keys() in WHOLE_MESSAGE else None


def _turns(value: dict[str, Any]) -> list[Any] | None:
    """Return the messages of `{"role": […], "content": […]}`, as `datasets` stores a sequence; else None."""
    lists = [items for items in value.values() if isinstance(items, list)]
    if not {"role", "from"} & value.keys() or len(lists) < len(value) or len(set(map(len, lists))) != 1:
        return None
    return [dict(zip(value, turn, strict=True)) for turn in zip(*lists, strict=True)]


def _parsed(value: str, column: str) -> object:
    """Parse text in brackets as JSON, or as printed by Python or numpy; None for other text.

    Raises:
        BadField: text that is meant as messages cannot be parsed.
    """
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
    """Parse a value that Python or numpy printed; None for other text.

    Numpy prints arrays without commas. Between two objects the missing comma is unambiguous; between two
    texts it is not, since Python concatenates them.
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
    """Return the tokens of Python source without line breaks; an empty list if it cannot be tokenized."""
    try:
        found = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return []
    return [token for token in found if token.string.strip()]


def _with_commas(tokens: list[tokenize.TokenInfo]) -> str:
    """Return the text of the tokens, with a comma inserted between two successive objects."""
    parts = [", {" if (a.string, b.string) == ("}", "{") else f" {b.string}" for a, b in pairwise(tokens)]
    return "".join([token.string for token in tokens[:1]] + parts)


def _refuse_two_texts(tokens: list[tokenize.TokenInfo], column: str) -> None:
    """Raise a `BadField` if two texts in a list are not separated by a comma."""
    inside = []
    for token, after in pairwise(tokens):
        if token.string in "[{(":
            inside.append(token.string)
        elif token.string in "]})":
            inside.pop()
        elif token.type == after.type == tokenize.STRING and inside[-1:] == ["["]:
            raise BadField(column, TWO_TEXTS)


def _literal(text: str) -> object:
    """Parse a Python literal without evaluating code; None if the text is not one."""
    try:
        with warnings.catch_warnings(action="ignore"):  # invalid escapes in other text
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
