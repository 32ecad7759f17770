"""Modules that the user wrote, found by the import path that a recipe gives."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from boresight.core.errors import UserError


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
