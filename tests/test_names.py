"""One name, one thing: no public function, class or type alias is defined in two places.

Exceptions are registries, whose files answer to the same names, and the verbs of the command line and the
Python API. Constants belong to their module and are not compared.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from tests.test_layers import MODULES

REGISTRIES = ("boresight.methods", "boresight.data.layouts", "boresight.scorers.judges")
"""One file of these is one method, layout or judge; all files of a folder have the same functions."""
REGISTRY_NAMES = {"get", "names", "name_of"}
"""Functions with which a registry is asked for its members."""
VERBS = {
    *("train", "check", "explain", "evaluate", "report", "compare"),
    *("synthesize", "sweep", "study", "export", "arena", "chat"),
}
OF_THE_API = {"boresight.api.Recipe"}
"""What a caller may give for a recipe; the class of that name is what the package makes of it."""
FACES = ("boresight.api", "boresight.cli")
"""Where a verb of the package is offered to people; each calls one function of the same or a longer name."""


def public_names(module: str) -> Iterator[str]:
    """Functions, classes and type aliases at the top of a module; type variables and loggers are left out."""
    for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name.isupper() or any(word in ast.unparse(node.value) for word in ("TypeVar", "getLogger")):
                continue
        else:
            continue
        if not name.startswith("_"):
            yield name


def is_exempt(module: str, name: str) -> bool:
    """Whether a name may occur again: a registry's, or a verb where it is offered to people."""
    if module.startswith(REGISTRIES) or name in REGISTRY_NAMES or f"{module}.{name}" in OF_THE_API:
        return True
    return name in VERBS and module.startswith(FACES)


def test_no_public_name_is_defined_twice():
    places = defaultdict(set)
    for module in MODULES:
        for name in public_names(module):
            if not is_exempt(module, name):
                places[name].add(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_every_verb_is_offered():
    offered = {name for module in MODULES if module.startswith(FACES) for name in public_names(module)}
    assert offered >= VERBS
