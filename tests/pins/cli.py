"""The command line: every verb with its arguments and options, without the help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from boresight.cli.main import app


def observe() -> dict[str, Any]:
    """Arguments and options, in order, of each command by its full name."""
    found: dict[str, Any] = {}
    _collect(typer.main.get_command(app), "boresight", found)
    return found


def _collect(command: Any, name: str, found: dict[str, Any]) -> None:
    below = getattr(command, "commands", {})
    found[name] = {"parameters": [_parameter(p) for p in command.params], "verbs": sorted(below)}
    for verb, inner in below.items():
        _collect(inner, f"{name} {verb}", found)


def _parameter(parameter: Any) -> dict[str, Any]:
    default = parameter.default
    return {
        "name": parameter.name,
        "kind": parameter.param_type_name,
        "strings": list(parameter.opts),
        "strings_off": list(parameter.secondary_opts),
        "type": _type_name(parameter.type_descriptor.annotation),
        "limits": {"min": parameter.min, "max": parameter.max},
        "required": parameter.required,
        "default": str(default) if isinstance(default, Path) else default,
        "multiple": getattr(parameter, "multiple", False),
        "nargs": parameter.nargs,
        "is_flag": getattr(parameter, "is_flag", False),
        "metavar": parameter.metavar,
    }


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if type(annotation) is type else str(annotation)
