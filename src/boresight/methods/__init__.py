"""Training methods, one file each: a docstring with paper and equation, a class `Config`, and a pure `loss`.

There is no registry: `get("dpo")` imports `boresight.methods.dpo`, and the annotation of the parameter `x` of
its `loss` determines the type of its input. A new pairwise method needs one file in this folder and one test.
A loss in your own project is selected by its import path: `get("my_project.my_loss")`.
"""

from __future__ import annotations

import pkgutil
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    """Function that computes the loss from an `Input` and a `Config`."""
    Input: type[LossInput]


def names() -> list[str]:
    """Return the sorted names of all methods, which are the file names in this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in NOT_METHODS)


def get(name: str) -> Method:
    """Load the method called `name`: a file of this folder, or any module given by its import path.

    Raises:
        UserError: there is no such file (the message suggests the nearest name), or the module lacks `Config`
            or `loss`.
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
    """Return the name with which `get` loads the method of these settings."""
    return type(config).__module__.removeprefix(f"{__name__}.")


def _load(name: str, path: str) -> Method:
    module = import_user_module(path, "method.name")
    missing = [part for part in ("Config", "loss") if not hasattr(module, part)]
    if missing:
        raise UserError(f"method.name: {path} has no {' and no '.join(missing)}; a method's file needs both.")
    loss, owner = module.loss, module.Config.__module__
    is_owned = getattr(sys.modules.get(owner), "loss", None) is loss
    if not is_owned:
        raise UserError(
            f"method.name: Config of {path} is that of {owner}, by which the method would be known; define "
            "`class Config(…)` in the file of the loss, by inheritance for the same settings."
        )
    return Method(name, module.Config, loss, _input_of(loss, path))


def _input_of(loss: Callable[..., Any], path: str) -> type[LossInput]:
    """The type of the loss's `x`. Raises `UserError` if it is no class of `boresight.methods.inputs`."""
    from boresight.methods import inputs

    try:
        kind = typing.get_type_hints(loss)["x"]
    except (KeyError, NameError, TypeError):
        kind = None
    known = isinstance(kind, type) and issubclass(kind, typing.get_args(inputs.LossInput))
    if not known or kind.__module__ != inputs.__name__:
        raise UserError(
            f"method.name: the first argument of {path}.loss must be called x and annotated with a class of "
            "boresight.methods.inputs, such as PairLogps, that the file imports at run time."
        )
    return kind
