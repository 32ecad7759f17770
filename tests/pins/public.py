"""What is there for use from Python: verbs with their signatures, and the names in each method's file."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

import boresight
from boresight import api, methods

FOR_OWN_METHODS = ("base", "inputs")
"""What a loss of one's own imports besides."""


def observe() -> dict[str, Any]:
    """The package's names, the verbs' signatures and the methods' public names."""
    verbs = sorted(name for name in boresight.__all__ if name != "UserError")
    return {
        "all": sorted(boresight.__all__),
        "verbs": {name: str(inspect.signature(getattr(api, name))) for name in verbs},
        "called on the package": {name: str(inspect.signature(getattr(boresight, name))) for name in verbs},
        "methods": {
            name: names_in(importlib.import_module(f"{methods.__name__}.{name}"))
            for name in [*methods.names(), *FOR_OWN_METHODS]
        },
    }


def names_in(module: ModuleType) -> list[str]:
    """Public functions, classes and constants that a module defines itself."""

    def own(name: str, value: Any) -> bool:
        if name.startswith("_") or not name.isidentifier():
            return False
        if inspect.isfunction(value) or inspect.isclass(value):
            return value.__module__ == module.__name__
        return name.isupper()

    return sorted(name for name, value in vars(module).items() if own(name, value))
