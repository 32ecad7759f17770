"""One file per method: a docstring with paper and equation, `Config`, and a pure `loss`.

Nothing is registered. `get("dpo")` imports `boresight.methods.dpo`; the annotation of its `loss` names its
input. Adding a pairwise loss is one file here and one test; a loss of your own project is one file there,
named by its import path: `get("my_project.my_loss")`.
"""

from __future__ import annotations

import pkgutil
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from boresight.core.errors import UserError
from boresight.core.plugins import import_user_module

if TYPE_CHECKING:
    from boresight.methods.base import MethodConfig
    from boresight.methods.inputs import LossInput, LossOutput

NOT_METHODS = {"inputs", "base", "foreign_logs", "published", "schedule"}


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its name, its settings class, its loss, and the type of the loss's input."""

    name: str
    Config: type[MethodConfig]
    loss: Callable[[LossInput, MethodConfig], LossOutput]
    """The loss function of an `Input` and a `Config`."""
    Input: type[LossInput]


def names() -> list[str]:
    """Names of all methods, sorted: the files of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in NOT_METHODS)


def get(name: str) -> Method:
    """Load the method called `name`: a file of this folder, or any module by its import path.

    Raises:
        UserError: no such file, with the nearest name; or a module without `Config` and `loss`.
    """
    if "." in name:
        return _load(name, name)
    if name not in names():
        from boresight.core.did_you_mean import nearest

        raise UserError(
            f"method.name: there is no method {name!r}{nearest(name, names())}; a loss of your own is named "
            "by its import path, folder.file."
        )
    return _load(name, f"{__name__}.{name}")


def name_of(config: MethodConfig) -> str:
    """Name with which `get` returns the method of these settings."""
    return type(config).__module__.removeprefix(f"{__name__}.")


def _load(name: str, path: str) -> Method:
    module = import_user_module(path, "method.name")
    missing = [part for part in ("Config", "loss") if not hasattr(module, part)]
    if missing:
        raise UserError(f"method.name: {path} has no {' and no '.join(missing)}; a method's file needs both.")
    kind = typing.get_type_hints(module.loss)["x"]
    return Method(name, module.Config, module.loss, kind)
