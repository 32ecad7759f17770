"""The prose of the project: what people read in pages, help texts, messages and source files.

In Python files these are comments, docstrings and string literals that contain a blank; in pages everything
but code; in report templates everything; in YAML files the comments. A text keeps its line breaks, so that a
place in it has a line number.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KINDS = {".py", ".yaml", ".md", ".j2"}
CODE_IN_PAGES = re.compile(
    r"^(?P<fence>```+)[^\n]*\n(?s:.*?)^(?P=fence)\s*$|`[^`]+`|^ {4,}.*$"
    r"|\]\([^)\n]*\)|<!--(?s:.*?)-->|<[a-z/][^>\n]*>",
    re.M,
)
"""Fenced and indented blocks, code in a sentence, targets of links, HTML tags, and notes for tests."""


@dataclass(frozen=True)
class Prose:
    """A text and the line of its file at which it begins, from 1."""

    line: int
    text: str


def blanked(found: re.Match[str]) -> str:
    """As many characters and lines as were found, with nothing to read in them."""
    return re.sub(r"[^\n]", "\0", found[0])


def of_page(source: str) -> Iterator[Prose]:
    """A page of Markdown without its code; no sentence runs from a heading into the text below it."""
    yield Prose(1, re.sub(r"^#.*$", r"\g<0>\0", CODE_IN_PAGES.sub(blanked, source), flags=re.M))


def of_comments(source: str) -> Iterator[Prose]:
    """The comments of a YAML file; their marks are blanked, so that sentences run across lines."""
    marked = (line.partition("#")[2].lstrip("# ") if "#" in line else "\0" for line in source.split("\n"))
    yield Prose(1, "\n".join(marked))


def of_python(source: str) -> Iterator[Prose]:
    """Strings that contain a blank, f-strings piece by piece, then comments, adjacent lines as one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\s", node.value):
            yield Prose(node.lineno, node.value)
    block: list[str] = []
    start = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and token.start[0] != start + len(block):
            yield Prose(start, "\n".join(block))
            block = []
        start = start if block else token.start[0]
        block.append(token.string.lstrip("#: "))
    if block:
        yield Prose(start, "\n".join(block))


READERS = {".py": of_python, ".yaml": of_comments, ".md": of_page, ".j2": lambda source: [Prose(1, source)]}


def prose_of(path: Path) -> list[Prose]:
    """Everything in a file that people read."""
    return list(READERS[path.suffix](path.read_text(encoding="utf-8")))


def files_with_prose(root: Path) -> list[Path]:
    """README, CONTRIBUTING, the pages, and every source, recipe and template of package and examples."""
    pages = [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").rglob("*.md")]
    folders = [root / "src", root / "examples"]
    sources = [path for folder in folders for path in folder.rglob("*") if path.suffix in KINDS]
    return sorted({*pages, *sources})
