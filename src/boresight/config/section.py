"""Base class of the sections of recipes, and their validation with errors of one sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from boresight.config.refusals.wrong_value import field_of, first_required, is_of_fixed_length, why_refused
from boresight.config.secrets import SECRET
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.strict_model import StrictModel

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)


UNION_MEMBER = re.compile(r"(constrained-)?float$|(literal|list|dict|tuple)\[|one_source$|mixture$")
"""Pattern of the parts that pydantic adds to the path of a field with several types."""
SHOWN = 80
"""Maximum number of characters of a wrong value that an error quotes."""


class WrongSetting(UserError):
    """Error about a key or value that a section refuses.

    `field` is the dotted key, or "" for a conflict between several settings, which `sentence` names.
    """

    def __init__(self, source: str, sentence: str, field: str) -> None:
        super().__init__(f"{source}: {sentence}")
        self.sentence, self.field = sentence, field


class UnknownKey(WrongSetting):
    """Error about an unknown key; `own` are the keys that its section has.

    `hint` is the end of the sentence; by default it suggests a similar one of these keys.
    """

    def __init__(self, source: str, field: str, own: Sequence[str], hint: str | None = None) -> None:
        section, _, key = field.rpartition(".")
        hint = nearest(key, own, section) if hint is None else hint
        super().__init__(source, f"unknown key {field}{hint}.", field)
        self.own = own


class Section(StrictModel):
    """Base class of the sections of a recipe."""


def fields(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Return `(dotted name, type, default, docstring)` of every field of `model` and of its sections."""
    rows = []
    for name, info in model.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, Section):
            rows += fields(section, f"{prefix}{name}.")
            continue
        default = "required" if info.is_required() else in_yaml(info.default)
        rows.append(
            (prefix + name, type_in_words(section), default, " ".join((info.description or "").split()))
        )
    return rows


def non_default_settings(section: BaseModel) -> dict[str, Any]:
    """Return the settings of a section that differ from their defaults."""
    return {name: value for name, value in section if value != type(section).model_fields[name].default}


def type_in_words(annotation: object) -> str:
    """Describe the values that a field of this type accepts, as `float | auto`, `list of str` or
    `keep | drop | null`."""
    origin, given = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_in_words(given[0])
    if origin is Literal:
        return " | ".join(in_yaml(value) for value in given)
    if origin in (Union, UnionType):
        return " | ".join(map(type_in_words, given))
    if origin in (list, tuple):
        return f"list of {type_in_words(given[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"{{{type_in_words(given[0])}: {type_in_words(given[1])}}}"
    if annotation is NoneType:
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def in_yaml(value: object) -> str:
    """Format a default value as in the YAML of a recipe."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, BaseModel):
        return "{}"
    return str(list(value)) if isinstance(value, tuple) else str(value)


def validate(model: type[M], raw: object, source: str, prefix: str = "") -> M:
    """Validate `raw` and return it as a section of class `model`.

    Raises:
        WrongSetting: the first problem, in one sentence that names `source` and the field. An unknown key is
            reported before a missing one, since it may be the missing key, misspelled.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = error.errors()
        unknown = (one for one in problems if one["type"] == "extra_forbidden")
        problem = next(unknown, problems[0]) if problems[0]["type"] == "missing" else problems[0]
        path = [str(part) for part in problem["loc"] if not UNION_MEMBER.match(str(part))]
        raise _wrong(model, problem, path, source, prefix) from None


def _wrong(
    model: type[BaseModel], problem: ErrorDetails, path: list[str], source: str, prefix: str
) -> WrongSetting:
    info, ends = field_of(model, path)
    kind = problem["type"]
    if kind == "extra_forbidden":
        return UnknownKey(source, _dotted(prefix, path), _known_keys(model, path[:-1]))
    if is_of_fixed_length(info) and kind == "missing":
        path = path[:-1]
    elif kind == "missing":
        field = _dotted(prefix, [*path, *first_required(model, path)])
        by_override = "" if any(part.isdigit() for part in path) else f" or as {field}=… on the command line"
        return WrongSetting(source, f"{field} is missing; set it in the recipe{by_override}.", field)
    field, why = _dotted(prefix, path), why_refused(problem, info, ends)
    if kind == SECRET:
        return WrongSetting(source, f"{field} {why}.", field)
    return WrongSetting(
        source, f"{field} is {_given(problem['input'])}: {why}." if field else f"{why}.", field
    )


def _dotted(prefix: str, path: list[str]) -> str:
    return ".".join([prefix, *path] if prefix else path)


def _given(value: object) -> str:
    """Format a value for an error: null and booleans as in YAML, others as Python code."""
    return in_yaml(value) if value is None or isinstance(value, bool) else shortened(value)


def shortened(value: object) -> str:
    """Format a value for an error as Python code, cut after `SHOWN` characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or an integer of too many digits
        return f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        if part not in model.model_fields:
            continue  # a key of a mapping of sections, or an index of a list of sections
        info = model.model_fields[part]
        options = [info.annotation, *getattr(info.annotation, "__args__", ())]
        model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(model.model_fields)
