"""Standard streams of a command: output cannot control the terminal, and the pipe or terminal may be closed
during a run, as in `boresight train … | head -3`.

Warnings of libraries, log lines and everything else that is written as a string may quote data, models and
servers, so control characters are replaced. rich writes colors and moves the cursor; a `Terminal` has
replaced control characters in its texts before.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from boresight.core.console import HARMLESS
from boresight.core.interrupt import SIGPIPE, request_stop

NO_READER = (errno.EPIPE, errno.EIO)
"""Errors of a pipe and of a terminal that are closed at the other end."""


BAR = re.compile(r"\r|[\n]*(?:\x1b\[A)*$")
"""Control characters with which tqdm's progress bars (of downloads) begin: a return to the start of their
line, or a move to the line of another bar."""


def as_symbols(text: str) -> str:
    """The text with control characters replaced by symbols, except those with which a progress bar begins."""
    found = BAR.match(text)
    moved = found.end() if found else 0
    return text[:moved] + text[moved:].translate(HARMLESS)


class TolerantStream:
    """A text stream that discards output once its pipe or terminal is closed, and asks the run to stop.

    Control characters are written as symbols, except through `rich_proxied_file`, which rich asks for.

    Raises:
        BrokenPipeError: the pipe or terminal is closed, and no run is listening for the request.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.left = False

    def write(self, text: str) -> int:
        """Write the text with control characters as symbols, or drop it."""
        return self.write_unchanged(as_symbols(text))

    def write_unchanged(self, text: str) -> int:
        """Write the text with its control characters, or drop it."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    @property
    def rich_proxied_file(self) -> Unchanged:
        """The same stream for rich's consoles."""
        return Unchanged(self)

    def flush(self) -> None:
        """Flush what could still be written."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], object]) -> None:
        if self.left:
            return
        try:
            act()
        except OSError as error:
            if error.errno not in NO_READER:
                raise
            self.left = True
            if not request_stop(SIGPIPE):
                raise BrokenPipeError from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Unchanged:
    """A stream whose `write` changes nothing."""

    def __init__(self, stream: TolerantStream) -> None:
        self._stream = stream
        self.write = stream.write_unchanged

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_closed_streams() -> None:
    """Replace streams that were closed when the process began (`>&-`) by the null device.

    Their numbers go to the next files that are opened, into which libraries would write their warnings.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


@contextlib.contextmanager
def only_result_on_stdout() -> Iterator[None]:
    """Inside the block what is written to standard output goes to standard error, also by processes that are
    started there, so that the result which follows stands alone.
    """
    out, err = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, ValueError):  # a stream in memory, as in a notebook, has no number
            number, other = out.fileno(), err.fileno()
            out.flush()
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            os.dup2(other, number)
        stack.enter_context(contextlib.redirect_stdout(err))
        yield
        err.flush()


@contextlib.contextmanager
def tolerating_closed_pipes() -> Iterator[None]:
    """Inside the block both standard streams are a `TolerantStream`; `?` stands for letters they cannot
    encode."""
    open_closed_streams()
    plain = sys.stdout, sys.stderr
    for stream in plain:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    ours = tuple(TolerantStream(stream) for stream in plain)
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        sys.stdout, sys.stderr = plain
        for stream in ours:
            if stream.left or not _flushed(stream):
                # What is still buffered goes nowhere, and Python does not complain when it ends.
                with contextlib.suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _flushed(stream: TolerantStream) -> bool:
    """Flush the stream; False if its disk is full or its reader has gone."""
    try:
        stream.flush()
    except (OSError, ValueError):
        return False
    return True
