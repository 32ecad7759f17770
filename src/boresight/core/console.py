"""Terminal output of all commands: a console that replaces control characters, warnings, progress bars and
tables."""

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
"""Map from the code points of control characters to those of symbols for them, such as ␛ for escape."""
C1, SEPARATORS, SURROGATES = range(0x80, 0xA0), (0x2028, 0x2029), range(0xD800, 0xE000)
DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Code points of characters that change the writing direction, which can make text look like other text."""
HARMLESS = PICTURES | dict.fromkeys((*C1, *SEPARATORS, *DIRECTIONS, *SURROGATES), 0xFFFD)

WARNING, ERROR = "yellow", "bold red"
"""Styles of warnings and errors."""
RESULT_WIDTH = 80
"""Maximum width of printed results, in columns; it suits terminals, notebooks and logs."""
NOTEBOOK_WIDTH = 110
"""Width of a notebook cell's output, in columns."""
WRAPPING = {"soft_wrap", "no_wrap", "overflow", "crop"}
"""Options of `print` with which a caller chooses how lines are wrapped."""
COMMAND = re.compile(
    r"\bboresight (arena|chat|check|compare|convert|data|evaluate|explain|export|init|report|serve|study|"
    r"sweep|synthesize|train) [^\s`]"
)
"""Match a boresight command with arguments. `boresight train` alone does not match: it is a name in a
sentence."""
IN_A_NOTEBOOK: dict[str, Any] = {
    "force_jupyter": False,
    "force_terminal": False,
    "color_system": "standard",
    "width": NOTEBOOK_WIDTH,
}
"""Options of a `Terminal` in a notebook."""


class Terminal(Console):
    """A console that replaces control characters in text by symbols.

    Data, models, servers and file names may contain control characters. Strings are printed literally: text
    that looks like rich's markup or an emoji code may be part of a path.

    In a notebook, the console writes colored text to the cell's output. rich's default would be one block of
    HTML per line. Cursor movements are disabled there, because notebook kernels report a terminal but do not
    support them.
    """

    only_warnings: ClassVar[bool] = False
    """Whether new terminals print only warnings; set by `showing_only_warnings`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False} | options)
        if self.is_jupyter:
            super().__init__(**{"markup": False, "emoji": False} | IN_A_NOTEBOOK | options)
        self.shows_warnings = not self.quiet
        """Whether warnings are printed; False for a terminal created with `quiet=True`, which prints
        nothing."""
        if self.only_warnings and "file" not in options:
            self.quiet = True

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects; on a terminal with `soft_wrap`, break lines between words.

        The terminal itself would break lines within words. A line is not broken if it contains a command or a
        word wider than the terminal, such as a path, so that it can be copied as one line.
        """
        if self.soft_wrap and self.is_terminal and not options.keys() & WRAPPING:
            line = " ".join(map(str, objects))
            long_word = any(len(word) > self.width for word in line.split())
            options["soft_wrap"] = long_word or COMMAND.search(line) is not None
        super().print(*objects, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render an object, with control characters in its text replaced by symbols or U+FFFD."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(segment.text.translate(HARMLESS), segment.style)

    @property
    def file(self) -> IO[str]:
        """The stream that the console writes to, without the wrappers of progress bars and of standard
        output.

        While a progress bar is shown, rich wraps standard output, which the command line has wrapped already
        (`cli/streams.py`). rich itself removes only the outer wrapper.
        """
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
    """Context manager: a `Terminal` created inside the block prints only warnings, on standard error.

    One that is created with `file` prints everything.
    """
    before, Terminal.only_warnings = Terminal.only_warnings, True
    try:
        yield
    finally:
        Terminal.only_warnings = before


def warning_console(console: Console) -> Console:
    """Return the console for warnings: one on standard error if `console` prints nothing else, otherwise
    `console`."""
    if console.quiet and isinstance(console, Terminal) and console.shows_warnings:
        return Terminal(file=sys.stderr, soft_wrap=console.soft_wrap)
    return console


def print_warning(console: Console, sentence: str) -> None:
    """Print a sentence in yellow, also with `--quiet`."""
    warning_console(console).print(sentence, style=WARNING, markup=False, highlight=False)


def print_command(console: Console, command: str, *, indent: int = 2, style: str = "bold") -> None:
    """Print a command on a line of its own, unwrapped, so that it can be copied."""
    line = f"{' ' * indent}{command}"
    console.print(line, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_stage(console: Console, text: str) -> None:
    """Print a line at the start of a stage that may take longer than a few seconds."""
    console.print(f"{text} …", style="dim", markup=False, highlight=False)


@contextmanager
def at_most(console: Console, columns: int) -> Iterator[None]:
    """Inside the block, limit the width of the console to `columns`."""
    width = console.width
    console.width = min(width, columns)
    try:
        yield
    finally:
        console.width = width


def has_cursor(console: Console) -> bool:
    """Whether progress bars, which move the cursor, can be drawn on the console.

    Notebook kernels and many CI systems set FORCE_COLOR, and rich then takes pipes for terminals. The result
    is False for such pipes.
    """
    forced = "FORCE_COLOR" in os.environ and not console.file.isatty()
    return console.is_terminal and not forced


BAR_WIDTH = 24
"""Width of a progress bar, in columns."""
LINE_EVERY = 10.0
"""Minimum time between two progress lines where there is no terminal for a bar, in seconds."""


@contextmanager
def progress(
    console: Console | None, label: str, total: int | None = None
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar, and yield `advance(count)`, to be called when `count` more items are done.

    The bar disappears at the end. Outside a terminal, lines are printed instead. Without a console nothing is
    shown.

    Args:
        total: number of items; None if it is unknown.
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
    """Return a bar with label, count, elapsed and remaining time; it shows nothing outside a terminal.

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
    """Return a one-line status display: the field `note` of its task, after a bar if the width allows one.

    The line remains visible when the display stops. The note may have up to 80 columns. Outside a terminal
    nothing is shown.
    """
    from rich.progress import BarColumn, TextColumn

    text = TextColumn("{task.fields[note]}", markup=False)
    bar = [BarColumn(bar_width=BAR_WIDTH)] if console.width > 80 + BAR_WIDTH else []
    return _progress_of((*bar, text), console)


def _progress_of(columns: Iterable[ProgressColumn], console: Console, *, transient: bool = False) -> Progress:
    """Return a progress display with these columns, which shows nothing outside a terminal."""
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
    """Return a table of names and texts without borders; names are not wrapped, long texts are folded.

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
