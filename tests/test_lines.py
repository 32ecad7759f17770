"""One way to read and write lines: they end at "\\n" alone (`boresight.core.files`).

`str.splitlines` and text streams also end them at U+2028, U+0085, "\\r" and others, which stand in texts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.test_layers import MODULES

SPLITTERS = {"splitlines", "readlines"}
CSV = {"boresight.data.reading.files", "boresight.evaluation.leaderboard"}
"""The csv module splits lines itself: it wants text streams that leave line breaks alone (newline="")."""


def faults(tree: ast.AST) -> Iterator[str]:
    """Calls that end lines elsewhere, and files opened as text for reading."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            if name in SPLITTERS:
                yield f"line {node.lineno} calls {name}; split at line feeds, or use core.files.read_lines"
            modes = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if (
                name == "open"
                and len(modes) == len(node.args)
                and not set("".join(map(str, modes))) & set("bwax")
            ):
                yield f"line {node.lineno} opens text for reading; use core.files.read_lines"


@pytest.mark.parametrize("module", sorted(MODULES.keys() - CSV))
def test_lines_end_at_line_feeds_alone(module):
    assert list(faults(ast.parse(MODULES[module].read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "line", ["text.splitlines()", "file.readlines()", "path.open()", 'path.open(encoding="utf-8")']
)
def test_other_ways_are_found(line):
    assert list(faults(ast.parse(line)))
    assert not list(faults(ast.parse('path.open("rb"); path.open("a", encoding="utf-8"); text.split()')))
