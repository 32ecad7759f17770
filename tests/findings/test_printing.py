"""Findings as a terminal shows them."""

from __future__ import annotations

import io

from rich.console import Console

from boresight.findings.finding import error, note
from boresight.findings.printing import print_findings


def printed(*findings):
    console = Console(file=io.StringIO(), width=100)
    print_findings(findings, console)
    return console.file.getvalue()


def test_nothing_is_printed_of_nothing():
    assert printed() == ""


def test_name_why_fix_more_and_the_first_rows():
    text = printed(
        error("name", "Why [b]so[/b].", "Do this.", ids=[f"r{i}" for i in range(6)]), note("other", "w", "f")
    )
    assert "name  rows r0, r1, r2, r3, r4 …" in text and "Why [b]so[/b]." in text
    assert "→ Do this." in text and "more: boresight explain name" in text
    assert "rows" not in text[text.index("other") :]


def test_all_rows_are_no_ellipsis():
    assert "rows a, b\n" in "\n".join(
        line.rstrip() for line in printed(error("n", "w", "f", ids=["a", "b"])).split("\n")
    )
