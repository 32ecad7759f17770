"""Gold answers of rows, the reference answers of rewards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from boresight.core.errors import UserError

GoldColumn = Annotated[str, Field(min_length=1, description="Column of the row that holds the gold answer.")]
"""Option of rewards with a gold answer."""

MARK = "####"
"""Mark of GSM8K between the solution and the final answer."""


def gold_texts(row: Mapping[str, Any], column: str, reward: str) -> list[str]:
    """The accepted answers of a row: one text or number, or a list. Of a text with `####`, the part after it.

    A column such as `reward_model.ground_truth` is a key inside of another, as verl's files have it.

    Raises:
        UserError: the column is missing or empty, or holds something else; `reward` is named.
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
    """Keys inside of a row's columns, by their dotted names."""
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
