"""One file per method: a docstring with paper and equation, `Config`, and a pure `loss`.

Nothing is registered. `get("dpo")` imports `boresight.methods.dpo`; the annotation of its `loss`
tells which inputs it eats. Adding a pairwise loss is one file here and one test.
"""

from __future__ import annotations

import importlib
import pkgutil
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from boresight.errors import UserError

NOT_METHODS = {"inputs", "base", "schedule"}


@dataclass(frozen=True, slots=True)
class Method:
    """A method as the rest of the package sees it."""

    name: str
    Config: type[Any]
    loss: Callable[[Any, Any], Any]
    Input: type[Any]


def names() -> list[str]:
    """Names of all methods, sorted: the files of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in NOT_METHODS)


def get(name: str) -> Method:
    """Load the method called `name`.

    Raises:
        UserError: no such file; the message lists what there is and suggests the nearest.
    """
    if name not in names():
        from boresight.suggest import nearest

        raise UserError(f"method.name: there is no method {name!r}{nearest(name, names())}.")
    module = importlib.import_module(f"{__name__}.{name}")
    kind = typing.get_type_hints(module.loss)["x"]
    return Method(name, module.Config, module.loss, kind)
