"""Read gold answers, the reference answers of rewards, from rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from boresight.core.errors import UserError

GoldColumn = Annotated[str, Field(min_length=1, description="Column of the row that holds the gold answer.")]
"""Option of rewards: the column with the gold answer."""

MARK = "####"
"""Mark between the solution and the final answer in GSM8K."""


def gold_texts(row: Mapping[str, Any], column: str, reward: str) -> list[str]:
    """Return the accepted answers of a row: the text or number in a column, or all items of a list.

    If a text contains `####`, the part after it is the answer. A column such as `reward_model.ground_truth`,
    as in verl's files, is a key inside another column.

    Raises:
        UserError: the column is missing or empty, or contains other values; the message contains the name
            `reward`.
    """
    columns = row if column in row else {**_inner(row), **row}
    if column not in columns:
        known = ", ".join(sorted(columns)) or "none"
        raise UserError(
            f"reward {reward}: the gold answer in the column {column!r} is missing (columns: {known}); "
            "add it, or name another column in options.column."
        )
    value = columns[column]
    texts = [_text(item) for item in (value if isinstance(value, list) else [value])]
    if not texts or not all(texts):
        raise UserError(
            f"reward {reward}: the gold answer in the column {column!r} is {str(value)[:80]!r}; "
            "write it as a text or a number, or as a list of accepted ones."
        )
    return texts


def _inner(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys inside the columns of a row, by their dotted names."""
    return {
        f"{column}.{key}": found
        for column, value in row.items()
        if isinstance(value, Mapping)
        for key, found in value.items()
    }


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).rpartition(MARK)[2].strip()
