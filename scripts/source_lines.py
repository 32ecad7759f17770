"""Count lines of code per package, without docstrings, comments and blank lines.

    python scripts/source_lines.py             the working tree
    python scripts/source_lines.py e96d8a9     a commit

A line counts if a token of code begins, continues or ends on it. Strings that stand alone as statements
(docstrings of modules, classes, functions and fields) do not count.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "src/boresight"
SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """Number of lines of `source` that hold code."""
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                documentation.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - documentation)


def sources(revision: str | None) -> Iterator[tuple[str, str]]:
    """Path below the package and text of every Python file, in the working tree or at a commit."""
    if revision is None:
        for file in sorted((ROOT / PACKAGE).rglob("*.py")):
            yield file.relative_to(ROOT / PACKAGE).as_posix(), file.read_text(encoding="utf-8")
        return
    for name in _git("ls-tree", "-r", "--name-only", revision, PACKAGE).splitlines():
        if name.endswith(".py"):
            yield name.removeprefix(f"{PACKAGE}/"), _git("show", f"{revision}:{name}")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Print one line per package and the total."""
    revision = sys.argv[1] if len(sys.argv) > 1 else None
    files, lines = Counter[str](), Counter[str]()
    for name, source in sources(revision):
        package = name.split("/")[0] if "/" in name else "."
        files[package] += 1
        lines[package] += code_lines(source)
    for package in sorted(lines):
        print(f"{package:14} {files[package]:4} files {lines[package]:7,} lines")
    print(f"{'total':14} {sum(files.values()):4} files {sum(lines.values()):7,} lines")


if __name__ == "__main__":
    main()
