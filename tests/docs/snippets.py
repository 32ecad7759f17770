"""The code blocks of a Markdown page, in order, and the commands in them.

A fence names its language and may carry a title, which is a file's name:

    ```python title="my_rewards.py"

A comment right before a block says what is special about it:

    <!-- not run: why -->      its commands are parsed and not run
    <!-- fails: words -->      its command ends with exit code 2 and says these words
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PROGRAMMES = ("boresight", "make", "pip", "python", "torchrun", "vllm", "export")
NOTE = re.compile(r"<!-- (not run|fails): (.+?) -->")


@dataclass(frozen=True)
class Block:
    """One block; `line` is where its text begins in the page, from 1. Indented blocks have no language."""

    page: Path
    line: int
    language: str
    title: str
    text: str
    note: str
    why: str

    @property
    def place(self) -> str:
        """For messages and tracebacks."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Every block of a page, however it is nested."""
    before = None
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            language, _, more = token.info.strip().partition(" ")
            title = re.search(r'title="([^"]+)"', more)
            special = NOTE.search(before.content) if before is not None else None
            note, why = special.groups() if special else ("", "")
            line = token.map[0] + 1 + (token.type == "fence")
            yield Block(page, line, language, title[1] if title else "", token.content, note, why)
        before = token if token.type == "html_block" else None


def commands(block: Block) -> list[list[str]]:
    """The words of every command of a block: continued lines are joined, remarks and output left out."""
    joined = block.text.replace("\\\n", " ")
    lines = (re.sub(r"^\s*(\$ )?([A-Z_]+=\S+ )*", "", line) for line in joined.splitlines())
    return [shlex.split(line, comments=True) for line in lines if line.split(" ")[0] in PROGRAMMES]
