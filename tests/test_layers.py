"""Imports point one way: the rule of docs/design/0008-layers.md, lazy and TYPE_CHECKING imports included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src"
LAYERS = (
    {"core"},
    {"stats"},
    {"methods"},
    {"config"},
    {"tasks"},
    {"data"},
    {"models"},
    {"llm"},
    {"scorers"},
    {"findings"},
    {"training"},
    {"checks"},
    {"evaluation"},
    {"reports"},
    {"runs"},
    {"serving"},
    {"experiments", "synthesis", "export", "arena", "conversion"},
    {"given"},
    {"api", "cli"},
    {"", "__main__"},
)
"""Packages from the bottom up. A package imports itself and packages of lower layers."""
LEVEL = {package: level for level, layer in enumerate(LAYERS) for package in layer}
REGISTRIES = {"methods", "data/layouts", "scorers/judges"}
"""Folders where one file is one method, layout or judge; they may hold any number."""
MOST_FILES = 12


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; a package goes by the name of its folder."""
    found = {}
    for file in sorted((ROOT / "boresight").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def package_of(module: str) -> str:
    """`models` for `boresight.models.packed.plan`; "" for `boresight` itself."""
    return module.partition(".")[2].partition(".")[0]


def imports(module: str) -> Iterator[tuple[int, str]]:
    """Line and target of every import of our own modules, wherever in the file it stands."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "boresight":
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: write the import in full"
            if (node.module or "").partition(".")[0] == "boresight":
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    yield node.lineno, full if full in MODULES else str(node.module)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    own = package_of(module)
    assert own in LEVEL, f"{own} has no layer; give it one in LAYERS"
    upward = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {target}"
        for line, target in imports(module)
        if package_of(target) != own and LEVEL[package_of(target)] >= LEVEL[own]
    ]
    assert not upward


def test_no_files_import_each_other():
    """Every strongly connected component of the import graph has one member."""
    graph = {module: {target for _, target in imports(module)} - {module} for module in MODULES}
    assert [sorted(part) for part in components(graph) if len(part) > 1] == []


def components(graph: dict[str, set[str]]) -> Iterator[set[str]]:
    """Strongly connected components (Tarjan 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> Iterator[set[str]]:
        order[node] = low[node] = len(order)
        stack.append(node)
        for target in graph[node]:
            if target not in order:
                yield from visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == order[node]:
            cut = stack.index(node)
            yield set(stack[cut:])
            del stack[cut:]

    for node in graph:
        if node not in order:
            yield from visit(node)


def test_components_finds_a_cycle():
    assert sorted(map(sorted, components({"a": {"b"}, "b": {"a"}, "c": {"a"}}))) == [["a", "b"], ["c"]]


def test_folders_are_small():
    """At most twelve modules on one level, registries excepted."""
    folders: dict[str, int] = {}
    for file in MODULES.values():
        folder = file.parent.relative_to(ROOT / "boresight").as_posix()
        folders[folder] = folders.get(folder, 0) + (file.name != "__init__.py")
    assert {f: n for f, n in folders.items() if n > MOST_FILES and f not in REGISTRIES} == {}
