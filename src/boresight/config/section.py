"""Sections of recipes: typed, documented, and with one-sentence errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from boresight.config.secrets import SECRET
from boresight.config.synonyms import SYNONYMS
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.strict_model import StrictModel

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)


UNION_MEMBER = re.compile(r"(constrained-)?float$|literal\[|one_source$|mixture$")
"""Suffixes that pydantic adds to the path of a field of several types."""
MANY = 3
"""Number of keys of another trainer above which a file counts as a config of that trainer."""
SHOWN = 80
"""Characters of a wrong value that an error quotes."""


class WrongSetting(UserError):
    """A key or value that a section refuses.

    `field` is its dotted key, "" for a problem of several settings, which `sentence` names.
    """

    def __init__(self, source: str, sentence: str, field: str) -> None:
        super().__init__(f"{source}: {sentence}")
        self.sentence, self.field = sentence, field


class Section(StrictModel):
    """Base of the recipe's sections."""


def fields(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """`(dotted name, type, default, docstring)` of every field below `model`."""
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


def type_in_words(annotation: object) -> str:
    """The values that a field of this type accepts, as text: `float | auto`, `list of str`, `keep | drop |
    null`."""
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
    """A default value as YAML, as in a recipe."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, BaseModel):
        return "{}"
    return str(list(value)) if isinstance(value, tuple) else str(value)


def refuse_unknown_keys(model: type[BaseModel], raw: Mapping[str, object], source: str) -> None:
    """Raise a `UserError` for the first key that is no field of `model`."""
    unknown = [key for key in raw if key not in model.model_fields]
    if unknown:
        sentence = _unknown(model, unknown[:1], unknown[0])
        if sum(key in SYNONYMS for key in unknown) >= MANY:
            sentence = f"{sentence.rstrip('.')} (a config of TRL: boresight convert trl-config FILE)."
        raise WrongSetting(source, sentence, unknown[0])


def validate(model: type[M], raw: object, source: str, prefix: str = "") -> M:
    """Check `raw` against a section; a problem is one sentence that names `source` and the field."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problem = error.errors()[0]
        path = [str(part) for part in problem["loc"] if not UNION_MEMBER.match(str(part))]
        field = ".".join([prefix, *path] if prefix else path)
        raise WrongSetting(source, _sentence(model, problem, path, field), field) from None


def _sentence(model: type[BaseModel], problem: ErrorDetails, path: list[str], field: str) -> str:
    if problem["type"] == "extra_forbidden":
        return _unknown(model, path, field)
    if problem["type"] == "missing":
        return f"{field} is missing; set it in the recipe or as {field}=… on the command line."
    text = problem["msg"].removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    if problem["type"] == SECRET:
        return f"{field} {text}."
    if problem["type"] == "model_type":
        text = "must be a section of settings; {} takes all defaults"
    return f"{field} is {shortened(problem['input'])}: {text}." if field else f"{text}."


def _unknown(model: type[BaseModel], path: list[str], field: str) -> str:
    other = SYNONYMS.get(path[-1])
    hint = f"; here it is called {other}" if other else nearest(path[-1], _known_keys(model, path[:-1]))
    return f"unknown key {field}{hint}."


def shortened(value: object) -> str:
    """A value as an error quotes it: at most `SHOWN` characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or an integer of too many digits
        return f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        if part not in model.model_fields:
            continue  # a key of a mapping, or a place in a list, of sections
        info = model.model_fields[part]
        options = [info.annotation, *getattr(info.annotation, "__args__", ())]
        model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(model.model_fields)
