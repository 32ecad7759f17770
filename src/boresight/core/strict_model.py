"""Base class of all settings read from a recipe: unknown keys, wrong types and unreasonably large numbers are
errors."""

from __future__ import annotations

from typing import Any, TypeGuard, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

LARGEST = 10**12
"""Maximum absolute value of integer settings, such as counts, numbers of tokens and seeds."""


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value is a number of steps, rows or tokens: an integer from 0 to `LARGEST` - 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


class StrictModel(BaseModel):
    """Base class of settings: immutable, without unknown keys or infinite numbers, documented by attribute
    docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Reject a boolean where the field is a number: YAML reads `yes` as True, and pydantic converts True
        to 1."""
        if isinstance(value, bool) and info.field_name is not None:
            types = _types(cls.model_fields[info.field_name].annotation)
            if bool not in types and types & {int, float}:
                raise ValueError("must be a number")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _no_absurd_number(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"larger than {LARGEST:,}, which is not a sensible number")
        return value


def _types(annotation: Any) -> set[Any]:
    """Return the plain types in an annotation, such as int and None in `int | None`."""
    inner = get_args(annotation)
    return {annotation} if not inner else set().union(*(_types(part) for part in inner))
