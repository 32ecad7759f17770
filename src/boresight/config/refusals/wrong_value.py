"""State why a value is refused, in terms of YAML instead of the Python terms of pydantic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from boresight.config.refusals.unknown_key import section_in

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

TUPLE_TYPES = {"tuple_type", "too_short", "too_long", "missing"}
"""Types of pydantic errors about the form of a list of fixed length."""
UPPER_BOUNDS = {"less_than": "lt", "less_than_equal": "le"}
"""Types of pydantic errors about an upper bound, each with the key of the bound in the error's context."""
NONE_WORDS = {"none", "no", "off", "false"}
"""Words that users write instead of null."""


def field_of(model: type[BaseModel], path: Sequence[str]) -> tuple[FieldInfo | None, bool]:
    """Return the last field on a path, and whether the path ends at the field and not at an item in it."""
    info, ends = None, False
    for part in path:
        ends = part in model.model_fields
        if not ends:
            continue  # a key of a mapping, or an index of a list
        info = model.model_fields[part]
        model = next((o for o in _parts(info.annotation) if _is_section(o)), BaseModel)
    return info, ends


def is_of_fixed_length(info: FieldInfo | None) -> bool:
    """Whether the field is a list of fixed length, such as `optim.betas`."""
    return info is not None and get_origin(info.annotation) is tuple


def first_required(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the path from a missing section to its first required field; empty if there is none."""
    info, ends = field_of(model, path)
    section = section_in(info.annotation) if info is not None and ends else None
    if section is None:
        return []
    name = next((name for name, one in section.model_fields.items() if one.is_required()), None)
    return [] if name is None else [name, *first_required(section, [name])]


def why_refused(problem: ErrorDetails, info: FieldInfo | None, ends: bool) -> str:
    """Return the reason why a value is refused, without a period.

    Args:
        problem: the error of pydantic.
        info: the field.
        ends: whether the value is that of the field; False if it is an item in it.
    """
    kind, given = problem["type"], problem["input"]
    text = problem["msg"].removeprefix("Value error, ").partition(", unable to parse")[0]
    text = text[0].lower() + text[1:]
    if kind == "model_type":
        return _section(info, ends)
    if info is None:
        return text
    if is_of_fixed_length(info) and kind in TUPLE_TYPES:
        return f"must be a list of {len(get_args(info.annotation))} values, such as {list(info.default)}"
    if kind == "list_type":
        text = f"must be a list such as [{given}]" if isinstance(given, str) else "must be a list"
    elif kind == "dict_type":
        text = "must be a mapping such as {name: value}"
    elif kind == "string_type" and isinstance(given, list):
        text = _one_text(info, given)
    return text + (_other_values(info, kind, given) if ends else "") + _meaning(problem, info)


def _section(info: FieldInfo | None, ends: bool) -> str:
    text = "must be a section of settings"
    section = section_in(info.annotation) if info is not None and ends else None
    if info is None or section is None:
        return text
    needed = [name for name, one in section.model_fields.items() if one.is_required()]
    if needed:
        return f"{text}, with {' and '.join(needed)}"
    off = "null turns it off, " if _takes_null(info) else ""
    return f"{text}; {off}{{}} takes all defaults"


def _one_text(info: FieldInfo, given: list[Any]) -> str:
    """Return the reason for a list where a text is expected.

    For a field that takes several sources with their shares, it shows the mapping to write.
    """
    if not any(get_origin(part) is dict for part in _parts(info.annotation)):
        return "must be one text and not a list"
    names = [one for one in given if isinstance(one, str)] or ["a.jsonl", "b.jsonl"]
    shares = ", ".join(f"{name}: {1 / len(names):.3g}" for name in names)
    return f"several sources are given with their shares of the training rows, as in {{{shares}}}"


def _other_values(info: FieldInfo, kind: str, given: object) -> str:
    """Return a hint at other values that the field takes: its literals, its default, or null."""
    words = [
        str(word)
        for part in _parts(info.annotation)
        if get_origin(part) is Literal
        for word in get_args(part)
    ]
    text = f", or {' or '.join(words)}" if words and not kind.startswith("literal") else ""
    if given is None and not info.is_required():
        return f"{text}; leave it out to take the default"
    meant_null = given is False or (isinstance(given, str) and given.lower() in NONE_WORDS)
    return f"{text}; write null for none" if meant_null and _takes_null(info) else text


def _meaning(problem: ErrorDetails, info: FieldInfo) -> str:
    """Return the meaning of a field whose upper bound is 1, for a value above it such as `optim.warmup: 100`.

    It is the first clause of the field's docstring, which must begin with a noun; empty for other fields.
    """
    bound = problem.get("ctx", {}).get(UPPER_BOUNDS.get(problem["type"], ""))
    if bound != 1 or not info.description:
        return ""
    clause = " ".join(info.description.split()).partition(";")[0].partition(". ")[0].rstrip(".")
    return f"; it is the {clause[0].lower()}{clause[1:]}"


def _takes_null(info: FieldInfo) -> bool:
    return NoneType in _parts(info.annotation)


def _is_section(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _parts(annotation: object) -> Iterator[Any]:
    """Yield the members of a union without their annotations, or the type itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation
