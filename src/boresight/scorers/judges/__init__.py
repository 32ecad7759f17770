"""Judges, one file each: which of two answers to a prompt is better.

A judge's file exposes `Config` and `build(config, completer, console) -> Judge`; nothing is registered.
`base` holds the interface, `endpoint` how judges that live behind an API are reached.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from boresight.core.errors import UserError

NOT_JUDGES = {"base", "endpoint"}


@dataclass(frozen=True, slots=True)
class JudgeFile:
    """A judge as a recipe sees it."""

    name: str
    Config: type[Any]
    build: Callable[..., Any]


def names() -> list[str]:
    """Names of all judges, sorted: the files of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in NOT_JUDGES)


def get(name: str) -> JudgeFile:
    """The judge called `name`.

    Raises:
        UserError: no such file; the message suggests the nearest.
    """
    if name not in names():
        from boresight.core.did_you_mean import nearest

        raise UserError(f"judge.name: there is no judge {name!r}{nearest(name, names())}.")
    module = importlib.import_module(f"{__name__}.{name}")
    return JudgeFile(name, module.Config, module.build)
