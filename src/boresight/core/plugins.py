"""Modules that may not be there: those of an extra, and those that the user wrote."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from boresight.core.errors import UserError


def import_extra(module: str, extra: str, needed_by: str) -> Any:
    """Import a module of a package that comes with an extra of ours.

    Args:
        needed_by: what needs it, for the error.

    Raises:
        UserError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        raise UserError(
            f"{needed_by}: needs the package {package}; run `pip install 'boresight[{extra}]'`."
        ) from None


def import_user_module(name: str, field: str) -> ModuleType:
    """Import `name` from what is installed, or else from the current folder; `field` is named in errors.

    Raises:
        UserError: there is no such module, or it raises while it is imported.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that a file here never stands in for a package; a command has no ''
    try:
        return importlib.import_module(name)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise UserError(
            f"{field}: cannot import {name!r} ({type(error).__name__}: {error}); "
            "check the path, and that it is installed or in the current folder."
        ) from error
