"""Nothing outside `methods/` knows a method by its name: what a method is like, its `Config` says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from boresight import methods

PACKAGE = Path(methods.__file__).parents[1]
MAY_NAME = ("methods", "conversion")
"""Packages that may: the methods, and the translation of configs, whose subject is which trainer of TRL
corresponds to which method and how their options differ."""
FILES = [f for f in sorted(PACKAGE.rglob("*.py")) if f.relative_to(PACKAGE).parts[0] not in MAY_NAME]
NAMES = set(methods.names())
WORDS = {"reward"}
"""Names that are also words for other things: they count where the same expression mentions a method."""


def uses(source: str) -> list[str]:
    """Where a file imports a method, or holds its name as a string that is no docstring: `line: code`."""
    tree = ast.parse(source)
    found = {node.lineno: ast.unparse(node) for node in [*_imports(tree), *_strings(tree)]}
    return [f"{line}: {code}" for line, code in sorted(found.items())]


def _imports(tree: ast.AST) -> Iterator[ast.AST]:
    paths = {f"{methods.__name__}.{name}" for name in NAMES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and paths & {alias.name for alias in node.names}:
            yield node
        if isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            if node.module in paths or paths & whole:
                yield node
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {f"methods.{name}" for name in NAMES}:
            yield node


def _strings(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in NAMES - WORDS:
            yield node
        if isinstance(node, ast.Compare | ast.Dict | ast.Match | ast.Subscript):
            inside = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant)}
            if inside & WORDS and "method" in ast.unparse(node):
                yield node


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_no_file_outside_names_a_method(file):
    assert uses(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        'if name == "dpo": pass',
        "if name in ('ipo', other): pass",
        "LOSSES = {'simpo': 1}",
        "from boresight.methods.xpo import LARGEST_SHARE",
        "from boresight.methods import sft",
        "import boresight.methods.rloo",
        "methods.dpo.loss",
        "if (recipe.get('method') or {}).get('name') == 'reward': pass",
        "head = 'score' if method == 'reward' else 'lm'",
        "match method:\n    case 'reward': pass",
    ],
)
def test_uses_finds(source):
    assert len(uses(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        '"""DPO, as in `method.name: dpo`."""',
        "numbers['reward'] = mean  # a metric",
        "if metric.name in ('accuracy', 'reward'): pass",
        "from boresight.methods.inputs import PairLogps",
        "text = 'Use method xpo with prompts and a reward, or plain dpo.'",
    ],
)
def test_uses_leaves_alone(source):
    assert uses(source) == []
