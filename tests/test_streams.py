"""Whatever is written to the standard streams of a verb is shown; colors and bars are ours."""

from __future__ import annotations

import io
import logging
import re
import sys
import warnings

import pytest
from rich.text import Text
from tqdm import tqdm

from boresight.cli.streams import TolerantStream, tolerating_closed_pipes
from boresight.core.console import Terminal, progress
from tests.odd_text import ODD, TERMINAL


def by_print():
    print(ODD)


def by_warning():
    sys.stderr.write(warnings.formatwarning(ODD, UserWarning, "x.py", 1))  # as Python does, outside of pytest


def by_a_logger():
    logger, handler = logging.getLogger("odd"), logging.StreamHandler()
    logger.addHandler(handler)
    logger.propagate = False  # pytest keeps what reaches the root, and sends no surrogates to its parent
    logger.warning("a%s", ODD)
    logger.removeHandler(handler)


def by_the_last_resort():
    logging.lastResort.emit(logging.LogRecord("odd", logging.ERROR, "", 0, ODD, None, None))


def by_a_bar():
    with tqdm(total=2, desc=f"a{ODD}", file=sys.stderr) as bar:
        bar.update(2)


def by_a_table_of_ours():
    Terminal().print(Text(ODD))
    Terminal(stderr=True).print(ODD, markup=False)


@pytest.mark.parametrize(
    "write", [by_print, by_warning, by_a_logger, by_the_last_resort, by_a_bar, by_a_table_of_ours]
)
def test_text_is_shown_and_never_obeyed(write, capsys):
    with tolerating_closed_pipes():
        write()
    said = "".join(capsys.readouterr())
    assert said and not set(said) & set(TERMINAL), [hex(ord(c)) for c in set(said) & set(TERMINAL)]
    assert "␛" in said or "title" in said


def written(text):
    stream = io.StringIO()
    TolerantStream(stream).write(text)
    return stream.getvalue()


@pytest.mark.parametrize("text", ["\r  3%|", "\n\n\x1b[A\x1b[A", "\n", "plain\n", "\x1b[A", ""])
def test_bars_and_lines_are_written_as_they_are(text):
    assert written(text) == text


@pytest.mark.parametrize("text", ["a\rb", "\x1b[31m", "\r\x1b[31m", "\x1b[A\x1b]0;t\x07", "\n\x1b[2J"])
def test_nothing_else_moves_the_cursor(text):
    assert not set(written(text).lstrip("\r").replace("\x1b[A", "")) & set("\r\x1b\x07")


def test_colors_of_ours_reach_the_terminal():
    stream = io.StringIO()
    ours = TolerantStream(stream)
    Terminal(file=ours, force_terminal=True, color_system="standard").print(Text(f"red{ODD}", style="red"))
    assert stream.getvalue().startswith("\x1b[31mred") and "\x07" not in stream.getvalue()


def test_bars_of_ours_reach_the_terminal(monkeypatch):
    """While a bar is shown, rich puts a stream of its own before that of the command line."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with tolerating_closed_pipes():
        console = Terminal(force_terminal=True, color_system="standard")
        with progress(console, "reading \x07title", 2) as advance:
            advance(1)
    drawn = stream.getvalue()
    assert "\x1b[2K" in drawn and "\x1b[0m" in drawn, "the bar was drawn"
    assert not re.search(r"␛\[[0-9;]*[mK]", drawn), "its own sequences are no symbols"
    assert "\x07" not in drawn and "title" in drawn, "those of its label are"


def test_colors_without_a_terminal_draw_no_bars(monkeypatch):
    """As in the pipe of a `!` command of a notebook, whose kernel sets FORCE_COLOR."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-color")
    stream = io.StringIO()
    console = Terminal(file=stream)
    with progress(console, "reading", 2) as advance:
        advance(1)
    console.print("done", style="green")
    assert stream.getvalue() == "\x1b[32mdone\x1b[0m\n"
