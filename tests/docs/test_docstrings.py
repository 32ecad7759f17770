"""Docstrings as their readers see them: escapes do not become control characters, and examples are right."""

from __future__ import annotations

import ast
import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.snippets import ROOT

SOURCE = ROOT / "src" / "boresight"


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string of a file that stands by itself: docstrings of all kinds."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


ALL = {path: list(docstrings(path)) for path in sorted(SOURCE.rglob("*.py"))}
WITH_EXAMPLES = [path for path, texts in ALL.items() if any(">>> " in text for _, text in texts)]


def module_of(path: Path) -> str:
    """`boresight.stats.verdict` for its file."""
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)


def test_no_control_characters():
    """`\\boxed` in a string without an r in front of it is a backspace and `oxed`."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: write r in front of the docstring, or double the backslash"
        for path, texts in ALL.items()
        for line, text in texts
        if any(ord(letter) < 32 and letter != "\n" for letter in text)
    ]
    assert not wrong, "\n".join(wrong)


def test_there_are_examples():
    assert len(WITH_EXAMPLES) > 10


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=module_of)
def test_examples(path):
    """An example whose result is on the line of its call, as after re-wrapping, is a syntax error here."""
    failed, tried = doctest.testmod(importlib.import_module(module_of(path)))
    assert tried and not failed
