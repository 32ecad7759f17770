"""Import paths that users are shown: each must go on to lead somewhere, whatever is moved.

The stored list is what counts in the tests. `find` reads it anew from documentation and examples.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STORED = Path(__file__).with_suffix(".json")
PAGES = ("README.md", "docs/*.md", "docs/methods/*.md", "examples/**/*.*", "recipes/**/*.yaml")
NOT_FOR_USERS = {"docs/log.md", "docs/reference.md"}
IMPORT = re.compile(r"from (boresight[\w.]*) import ([\w, ]+)")
DOTTED = re.compile(r"\bboresight(?:\.[A-Za-z_]\w*)+(?::[A-Za-z_]\w*)?")


def observe() -> list[str]:
    """The stored paths that still lead to a module or a value."""
    return [path for path in json.loads(STORED.read_text(encoding="utf-8")) if resolves(path)]


def find() -> list[str]:
    """All paths on pages for users that lead somewhere now, besides those stored before."""
    found: set[str] = set(json.loads(STORED.read_text(encoding="utf-8"))) if STORED.exists() else set()
    for pattern in PAGES:
        for page in ROOT.glob(pattern):
            if page.is_file() and str(page.relative_to(ROOT)) not in NOT_FOR_USERS:
                found |= _paths(page.read_text(encoding="utf-8"))
    return sorted(path for path in found if resolves(path))


def resolves(path: str) -> bool:
    """Whether the longest module in a dotted path can be imported and has the rest as attributes."""
    parts = re.split("[.:]", path)
    for count in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for name in parts[count:]:
            if not hasattr(value, name):
                return False
            value = getattr(value, name)
        return True
    return False


def _paths(text: str) -> set[str]:
    imported = {
        f"{module}.{name.strip()}" for module, names in IMPORT.findall(text) for name in names.split(",")
    }
    return imported | set(DOTTED.findall(text))
