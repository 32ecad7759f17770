"""The base of everything that is read from a recipe: unknown keys, wrong types and absurd numbers are
errors."""

from __future__ import annotations

from typing import Any, TypeGuard, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

LARGEST = 10**12
"""Largest count, number of tokens or seed."""


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value that was read is a number of steps, rows or tokens: an integer from 0 to `LARGEST`."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


class StrictModel(BaseModel):
    """Base of settings: frozen, with docstrings, finite numbers; booleans are not accepted as numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes True for 1 and "yes" for True, YAML takes `yes` for True."""
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
    """The plain types in an annotation, such as int and None in `int | None`."""
    inner = get_args(annotation)
    return {annotation} if not inner else set().union(*(_types(part) for part in inner))
