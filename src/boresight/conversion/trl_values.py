"""Convert the values of a config to the types of TRL's options, as TRL's command line does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

TRUE, FALSE = {"true", "yes", "y", "t", "1"}, {"false", "no", "n", "f", "0"}
WANTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "dict": "a mapping",
    "list": "a list",
    "str": "a text",
}


def read_typed(value: object, types: frozenset[str]) -> Any:
    """Convert a value to the first of an option's types that it fits, in the order of `READERS`.

    YAML reads `no` as false and `5e-7` as a string; an option of type string gets "no", and one of type float
    gets 5e-7.

    Args:
        types: names of the types, such as `{"float", "null"}`.

    Raises:
        ValueError: the value fits none of the types; the message contains the expected types.
    """
    if value is None and "null" in types:
        return None
    for name in (name for name in READERS if name in types):
        try:
            return READERS[name](value)
        except (TypeError, ValueError, OverflowError, RecursionError):
            continue
    raise ValueError("must be " + " or ".join(WANTED[name] for name in READERS if name in types))


def read_numbers(value: object) -> list[float]:
    """Return the numbers in a list, or a single number as a list.

    Raises:
        ValueError, TypeError: a value is not a finite number.
    """
    return [_float(part) for part in (value if isinstance(value, list) else [value])]


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if not isinstance(value, str | int) or word not in TRUE | FALSE:
        raise ValueError
    return word in TRUE


def _int(value: object) -> int:
    number = _float(value)
    if not number.is_integer():
        raise ValueError
    return int(number)


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _dict(value: object) -> dict[str, Any]:
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise TypeError
    return found


def _list(value: object) -> list[Any]:
    if isinstance(value, dict) or value is None:
        raise TypeError
    return value if isinstance(value, list) else [value]


def _str(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str | int | float):
        raise TypeError
    return str(value)


READERS: dict[str, Callable[[object], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "dict": _dict,
    "list": _list,
    "str": _str,
}
"""Parsers of values by the name of the type, in the order in which they are tried."""
