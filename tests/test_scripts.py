"""Programs beside the package import names that the package has; nothing else runs most of them in CI."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted(
    path for folder in ("benchmarks", "scripts", "examples") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_imported_name_of_the_package_exists(program: Path) -> None:
    assert [name for name in imported(program) if not exists(name)] == []


def imported(program: Path) -> list[tuple[str, str]]:
    """Module and name of every import from the package, those inside functions included."""
    names = []
    for node in ast.walk(ast.parse(program.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [(alias.name, "") for alias in node.names]
    return [(module, name) for module, name in names if module.split(".")[0] == "boresight"]


def exists(name: tuple[str, str]) -> bool:
    module, attribute = name
    try:
        found = importlib.import_module(module)
    except ImportError:
        return False
    return not attribute or hasattr(found, attribute) or is_module(f"{module}.{attribute}")


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False
