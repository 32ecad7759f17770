"""Import optional modules: those that an extra installs, and those written by the user."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from boresight.core.errors import UserError


def is_installed(package: str) -> bool:
    """Whether a package can be imported.

    A folder without Python files in the working directory, such as `wandb/` or `datasets/`, does not count,
    although Python imports it as an empty namespace package.
    """
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def import_extra(module: str, extra: str, needed_by: str) -> Any:
    """Import a module of a package that one of boresight's extras installs.

    Args:
        needed_by: name of the feature, for the error.

    Raises:
        UserError: the package is not installed.
    """
    package = module.partition(".")[0]
    try:
        found = importlib.import_module(module)
        if getattr(found, "__file__", None) is not None:
            return found
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
    raise UserError(f"{needed_by}: needs the package {package}; run `pip install 'boresight[{extra}]'`.")


_DIGESTS: dict[str, str | None] = {}
"""Map from the name of each imported user module to the SHA-256 of its source at import, or None without a
file."""


def import_user_module(name: str, field: str) -> ModuleType:
    """Import an installed module or one in the current folder.

    Args:
        field: name of the setting that contains the module's name, for errors.

    Raises:
        UserError: there is no such module, or it raises while it is imported.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that a file here never stands in for a package; a command has no ''
    importlib.invalidate_caches()  # the file may have been written since the folder was listed
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything, or parse the command line
        raise UserError(
            f"{field}: cannot import {name!r} ({type(error).__name__}: {error}); "
            "check the path, and that it is installed or in the current folder.",
            of_own_code=True,
        ) from error
    if name.partition(".")[0] != __name__.partition(".")[0]:
        _DIGESTS.setdefault(name, _digest(module))
    return module


def forget_changed_modules() -> None:
    """Remove the user's modules whose files have changed from `sys.modules`, so that their next import reads
    the files.

    In a notebook a reward function may be edited many times in one process. This is called when a command
    starts and not at each import, because an edit must not change a run in progress.
    """
    for name, digest in list(_DIGESTS.items()):
        module = sys.modules.get(name)
        if module is None or _digest(module) != digest:
            sys.modules.pop(name, None)
            del _DIGESTS[name]


def _digest(module: ModuleType) -> str | None:
    """Return the SHA-256 of a module's source file, or None if it has no file or the file was deleted."""
    path = Path(getattr(module, "__file__", None) or "")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
