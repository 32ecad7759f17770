"""Terminal output of all commands: a console that no text controls, warnings, progress, and plain tables."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, ClassVar

from rich.console import Console
from rich.segment import Segment

from boresight.core.wording import format_duration

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType
    from rich.progress import Progress, ProgressColumn
    from rich.table import Table
    from rich.text import Text

PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
"""Control characters and the symbols that stand for them, such as ␛ for escape."""
C1, SEPARATORS, SURROGATES = range(0x80, 0xA0), (0x2028, 0x2029), range(0xD800, 0xE000)
DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Characters that change the writing direction, by which a text can be displayed as another one."""
HARMLESS = PICTURES | dict.fromkeys((*C1, *SEPARATORS, *DIRECTIONS, *SURROGATES), 0xFFFD)

WARNING, ERROR = "yellow", "bold red"
"""Styles of warnings and errors."""
RESULT_WIDTH = 80
"""Columns of results, which are read in terminals, notebooks and logs of any width."""
NOTEBOOK_WIDTH = 110
"""Columns of a cell's output."""
WRAPPING = {"soft_wrap", "no_wrap", "overflow", "crop"}
"""Options of a print that break lines in another way."""
COMMAND = re.compile(
    r"\bboresight (arena|chat|check|compare|convert|data|evaluate|explain|export|init|report|serve|study|"
    r"sweep|synthesize|train) [^\s`]"
)
"""A command with arguments in a line; `boresight train` alone is a name in a sentence."""
IN_A_NOTEBOOK: dict[str, Any] = {
    "force_jupyter": False,
    "force_terminal": False,
    "color_system": "standard",
    "width": NOTEBOOK_WIDTH,
}
"""Options of a console in a notebook."""


class Terminal(Console):
    """A console that replaces control characters in text, which may come from data, models, servers or file
    names.

    Strings are printed as they are: what looks like rich's markup or an emoji code may be part of a path.

    In a notebook it writes to the cell's output as text with colors. rich would make a block of HTML of each
    line, which a notebook separates from the next; and kernels report a terminal but cannot move the cursor.
    """

    only_warnings: ClassVar[bool] = False
    """Whether terminals that are made now show warnings alone; `showing_only_warnings` sets it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False} | options)
        if self.is_jupyter:
            super().__init__(**{"markup": False, "emoji": False} | IN_A_NOTEBOOK | options)
        self.shows_warnings = not self.quiet
        """Whether `warning_console` has a console for it; a quiet one shows nothing at all."""
        if self.only_warnings and "file" not in options:
            self.quiet = True

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as usual; on a screen, where `soft_wrap` is the default, break lines between words.

        A terminal by itself would break them inside of words. A line with a command, or with a word that is
        too long for the width, such as a path, is left to the terminal, from which it is copied as one line.
        """
        if self.soft_wrap and self.is_terminal and not options.keys() & WRAPPING:
            line = " ".join(map(str, objects))
            long_word = any(len(word) > self.width for word in line.split())
            options["soft_wrap"] = long_word or COMMAND.search(line) is not None
        super().print(*objects, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render as usual, with every control character of a text as a symbol."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(segment.text.translate(HARMLESS), segment.style)

    @property
    def file(self) -> IO[str]:
        """The stream that is written to. While a progress bar is shown, rich wraps the command line's own
        wrapper (`cli/streams.py`) in another one, and rich itself unwraps only the outer of the two."""
        file = super().file
        return getattr(file, "rich_proxied_file", file)

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def on_broken_pipe(self) -> None:
        """Re-raise the error; rich would end the process with exit code 1."""
        raise BrokenPipeError


@contextmanager
def showing_only_warnings() -> Iterator[None]:
    """Inside the block new terminals show warnings alone, on standard error; those with a file show all."""
    before, Terminal.only_warnings = Terminal.only_warnings, True
    try:
        yield
    finally:
        Terminal.only_warnings = before


def warning_console(console: Console) -> Console:
    """Where warnings are printed: on standard error if `console` shows nothing else, else on `console`."""
    if console.quiet and isinstance(console, Terminal) and console.shows_warnings:
        return Terminal(file=sys.stderr, soft_wrap=console.soft_wrap)
    return console


def print_warning(console: Console, sentence: str) -> None:
    """Print a sentence in yellow, also with `--quiet`."""
    warning_console(console).print(sentence, style=WARNING, markup=False, highlight=False)


def print_command(console: Console, command: str, *, indent: int = 2, style: str = "bold") -> None:
    """Print a command to copy on a line of its own, which only the terminal itself wraps."""
    line = f"{' ' * indent}{command}"
    console.print(line, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_stage(console: Console, text: str) -> None:
    """Print a line at the start of a stage that may take more than seconds."""
    console.print(f"{text} …", style="dim", markup=False, highlight=False)


@contextmanager
def at_most(console: Console, columns: int) -> Iterator[None]:
    """Print in lines of at most `columns`, also where the console is wider."""
    width = console.width
    console.width = min(width, columns)
    try:
        yield
    finally:
        console.width = width


def has_cursor(console: Console) -> bool:
    """Whether bars can be drawn, which move the cursor.

    FORCE_COLOR, which the kernels of notebooks and many CI systems set, makes rich take pipes for terminals.
    """
    forced = "FORCE_COLOR" in os.environ and not console.file.isatty()
    return console.is_terminal and not forced


BAR_WIDTH = 24
"""Columns of a bar."""
LINE_EVERY = 10.0
"""Seconds between lines where there is no terminal for a bar."""


@contextmanager
def progress(
    console: Console | None, label: str, total: int | None = None
) -> Iterator[Callable[[int], None]]:
    """Yield `advance(count)`, to be called when `count` more of `total` items are done.

    The bar disappears at the end. Nothing is shown without a console; `total` is None if it is not known.
    """
    if console is None:
        yield lambda count: None
        return
    started = printed = time.monotonic()
    done, shown = 0, -1

    def advance(count: int) -> None:
        nonlocal done, printed, shown
        done += count
        bar.advance(task, count)
        now = time.monotonic()
        if not has_cursor(console) and now - printed > LINE_EVERY and done not in (shown, total):
            printed, shown = now, done
            console.print(_line(label, done, total, now - started), markup=False, highlight=False)

    with progress_bar(console) as bar:
        task = bar.add_task(label, total=total, note="")
        yield advance


def progress_bar(console: Console, *, transient: bool = True) -> Progress:
    """A bar with label, count, elapsed and remaining time; off a terminal it shows nothing.

    Every task needs a field `note`, the text at its end. A `transient` bar disappears when it stops.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=BAR_WIDTH),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    return _progress_of(columns, console, transient=transient)


def status_bar(console: Console) -> Progress:
    """A line of text, the field `note` of its task, that stays when it stops; beside it a bar if it fits.

    The text may have 80 columns. Off a terminal nothing is shown.
    """
    from rich.progress import BarColumn, TextColumn

    text = TextColumn("{task.fields[note]}", markup=False)
    bar = [BarColumn(bar_width=BAR_WIDTH)] if console.width > 80 + BAR_WIDTH else []
    return _progress_of((*bar, text), console)


def _progress_of(columns: Iterable[ProgressColumn], console: Console, *, transient: bool = False) -> Progress:
    """A display of these columns, which off a terminal shows nothing."""
    from rich.progress import Progress

    class Bar(Progress):
        def stop(self) -> None:
            if not self.disable:  # rich before 14.3 prints an empty line
                super().stop()

    disable = console.quiet or not has_cursor(console)
    return Bar(*columns, console=console, transient=transient, disable=disable)


def _line(label: str, done: int, total: int | None, seconds: float) -> str:
    if total is None:
        return f"{label}: {done:,}"
    left = f"  about {format_duration(seconds / done * (total - done))} left" if done else ""
    return f"{label}: {done:,}/{total:,}{left}"


def name_table(
    rows: Iterable[tuple[str | Text, str | Text]], *, title: str | None = None, style: str = ""
) -> Table:
    """A table of names and texts without borders; names keep to one line, long texts are folded.

    Args:
        style: style of the names.
    """
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_header=False,
    )
    table.add_column(style=style, no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, text)
    return table
