"""The base of all recipes: typed sections, YAML with dotted overrides, and one-sentence errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError

M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    """Base of the recipe's sections: unknown keys are errors, fields carry their docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def read_raw(path: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """A recipe of any kind as nested dictionaries, with overrides applied and nothing checked."""
    raw = _read_yaml(Path(path))
    for override in overrides or []:
        apply_override(raw, override)
    return raw


def fields(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """`(dotted name, type, default, docstring)` of every field below `model`."""
    rows = []
    for name, info in model.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, Section):
            rows += fields(section, f"{prefix}{name}.")
            continue
        kind = getattr(section, "__name__", None) if isinstance(section, type) else str(section)
        kind = str(kind).replace("typing.", "").replace("boresight.config.lora.", "")
        default = "required" if info.is_required() else str(info.default)
        rows.append((prefix + name, kind, default, " ".join((info.description or "").split())))
    return rows


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: there is no such recipe; give the path of a YAML file.")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}: not valid YAML{where}; fix the syntax there.") from None
    if not isinstance(raw, dict):
        kind = "nothing" if raw is None else f"a {type(raw).__name__}"
        raise UserError(f"{path}: a recipe is a mapping of sections such as `model:`; the file holds {kind}.")
    return raw


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set what `section.key=value` says; the value is read as YAML. Raises `UserError` for other forms."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override!r}: overrides are written section.key=value, for instance optim.lr=2e-6.")
    put(raw, key, yaml.safe_load(value))


def put(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set `section.key` in nested dictionaries. Raises `UserError` where a parent is no section."""
    *parents, last = key.split(".")
    at = raw
    for parent in parents:
        if at.get(parent) is None:
            at[parent] = {}
        at = at[parent]
        if not isinstance(at, dict):
            raise UserError(f"{key}={value}: {parent} is a value, not a section.")
    at[last] = value


def validate(model: type[M], raw: Any, source: str, prefix: str = "") -> M:
    """Check `raw` against a section; a problem is one sentence that names `source` and the field."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(f"{source}: {_sentence(model, problem, prefix)}") from None


def _sentence(model: type[BaseModel], problem: Any, prefix: str) -> str:
    path = [str(part) for part in problem["loc"]]
    field = ".".join([prefix, *path] if prefix else path)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {field}{nearest(path[-1], _known_keys(model, path[:-1]))}."
    if problem["type"] == "missing":
        return f"{field} is missing; set it in the recipe or as {field}=… on the command line."
    text = problem["msg"].removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    if not field:
        return f"{text}."
    return f"{field} is {problem['input']!r}: {text}."


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        if part not in model.model_fields:
            continue  # a key of a mapping, or a place in a list, of sections
        info = model.model_fields[part]
        options = [info.annotation, *getattr(info.annotation, "__args__", ())]
        model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(model.model_fields)
