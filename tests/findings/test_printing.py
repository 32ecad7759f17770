"""Findings as a terminal shows them."""

from __future__ import annotations

import io

from rich.console import Console

from boresight.findings.finding import error, note
from boresight.findings.printing import print_findings


def printed(*findings, width=100, **options):
    console = Console(file=io.StringIO(), width=width)
    print_findings(findings, console, **options)
    return console.file.getvalue()


def test_nothing_is_printed_of_nothing():
    assert printed() == ""


def test_name_why_fix_more_and_the_first_rows():
    text = printed(
        error("name", "Why [b]so[/b].", "Do this.", ids=[f"r{i}" for i in range(6)]), note("other", "w", "f")
    )
    assert "name  rows: r0, r1, r2, r3, r4 …" in text and "Why [b]so[/b]." in text
    assert "→ Do this." in text and "more: boresight explain name" in text
    assert "rows" not in text[text.index("other") :]


def test_all_rows_are_no_ellipsis():
    assert "rows: a, b\n" in "\n".join(
        line.rstrip() for line in printed(error("n", "w", "f", ids=["a", "b"])).split("\n")
    )


def test_a_command_is_one_line_whatever_the_width_and_texts_stand_in_one_column():
    command = "boresight train pairs-dpo.yaml --run 'runs/a folder' :smile: train.epochs=10 optim.lr=auto"
    found = [error("name", "why " * 20, "fix " * 20), note("other", "w", "f")]
    lines = printed(*found, width=40, commands={"name": command}).split("\n")
    assert [line.strip() for line in lines if "$" in line] == [f"$ {command}"]
    assert max(len(line.rstrip()) for line in lines if "$" not in line) <= 40
    words = ("name", "other", "→", "$ ")
    found_at = {line.index(word) for line in lines for word in words if word in line[:15]}
    assert found_at == {9}
