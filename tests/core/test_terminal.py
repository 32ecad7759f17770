"""Texts of data, models and servers are shown on a terminal and never obeyed."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from boresight.core.console import Terminal, name_table, progress

HOSTILE = "a\x1b[31mb\x1b]0;title\x07\rc\x9b2Jd\u202ee\ud800f\x7f"
SHOWN = "a␛[31mb␛]0;titlec\ufffd2Jd"
"""Its beginning: bells and carriage returns are dropped, and a column may be too narrow for the rest."""
ROOT = Path(__file__).parents[2] / "src"


def printed(*renderables, **options):
    file = io.StringIO()
    console = Terminal(file=file, width=120, **options)
    for renderable in renderables:
        console.print(renderable, markup=False, highlight=False)
    return file.getvalue()


def in_a_table():
    table = Table("column")
    table.add_row(Text(HOSTILE))
    return table


@pytest.mark.parametrize(
    "renderable", [HOSTILE, Text(HOSTILE), in_a_table(), name_table([(Text(HOSTILE), Text(HOSTILE))])]
)
@pytest.mark.parametrize("terminal", [False, True])
def test_no_text_reaches_the_terminal_as_a_command(renderable, terminal):
    said = printed(renderable, force_terminal=terminal, color_system=None)
    assert SHOWN in said and not set("\x1b\x07\r\x9b\x7f\u202e\ud800") & set(said)
    said.encode("utf-8")


def test_nothing_else_of_a_text_is_lost():
    assert printed(HOSTILE) == f"{SHOWN}\ufffde\ufffdf␡\n"
    assert printed("naïve 文字 🙂 e\u0301") == "naïve 文字 🙂 e\u0301\n"


def test_colors_and_line_breaks_of_ours_stay():
    said = printed(Text("red\nand\tplain", style="red"), force_terminal=True, color_system="standard")
    assert said.startswith("\x1b[31mred") and "\n" in said


@pytest.mark.parametrize(
    "text", ["runs/[/b]", "[red]a[/red]", "[link=http://x]a", ":warning:/pairs.jsonl", "[[1]]"]
)
def test_no_text_is_markup(text):
    file = io.StringIO()
    table = Table("column")
    table.add_row(text)
    for renderable in (text, table, name_table([(text, text)])):
        Terminal(file=file, width=120, color_system=None).print(renderable)
    assert file.getvalue().count(text) == 4


def test_labels_of_progress_are_texts_too():
    file = io.StringIO()
    console = Terminal(file=file, width=80, force_terminal=True, color_system=None)
    with progress(console, "reading \x1b]0;title\x07", 2) as advance:
        advance(2)
    assert "\x1b]0" not in file.getvalue()


LINE = "read 300 preference pairs from runs/some-name.jsonl, of which 60 are held out and 240 are trained on"


def on_a_screen(*lines, **options):
    file = io.StringIO()
    console = Terminal(file=file, width=40, soft_wrap=True, force_terminal=True, color_system=None)
    for line in lines:
        console.print(line, **options)
    return file.getvalue().split("\n")[:-1]


def test_a_screen_breaks_lines_between_words_and_no_path():
    assert on_a_screen(LINE) == [
        "read 300 preference pairs from ",
        "runs/some-name.jsonl, of which 60 are ",
        "held out and 240 are trained on",
    ]
    long = LINE.replace("some-", "some-" * 10)
    assert on_a_screen(long) == [long]
    assert on_a_screen(LINE, soft_wrap=True) == [LINE]
    command = "these are pairs: boresight init p.jsonl --columns '{chosen: good, rejected: bad}'"
    assert on_a_screen(command) == [command]  # a line break in it would end the command that is pasted
    assert len(on_a_screen(command.replace("init p", "read p"))) > 1
    assert [line.split() for line in on_a_screen(name_table([("name", "text")]))] == [["name", "text"]]


def test_a_pipe_gets_whole_lines():
    file = io.StringIO()
    Terminal(file=file, width=40, soft_wrap=True).print(LINE, highlight=False)
    assert file.getvalue() == f"{LINE}\n"


def test_every_console_of_the_package_is_a_terminal():
    """A plain `rich.console.Console` would obey what it is given."""
    made = [
        (file.name, node.lineno)
        for file in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Console"
    ]
    assert made == []
