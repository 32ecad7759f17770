"""Standard streams of a command, safe against control characters and closed pipes.

A pipe may be closed during a run, as in `boresight train … | head -3`. Warnings of libraries, log lines and
everything else that is written as a string may quote data, models and servers, so control characters are
replaced. rich writes control characters itself, for colors and to move the cursor; a `Terminal` replaces
those in its texts before.
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
"""Error numbers for a pipe and for a terminal that is closed at the other end."""


BAR = re.compile(r"\r|[\n]*(?:\x1b\[A)*$")
"""Control characters with which tqdm's progress bars (of downloads) begin: a return to the start of their
line, or a move to the line of another bar."""


def as_symbols(text: str) -> str:
    """Return the text with control characters replaced by symbols.

    Those at the beginning of a progress bar are kept.
    """
    found = BAR.match(text)
    moved = found.end() if found else 0
    return text[:moved] + text[moved:].translate(HARMLESS)


class TolerantStream:
    """A text stream that discards output once its pipe or terminal is closed, and requests a stop of the run.

    Control characters are written as symbols, except through `rich_proxied_file`, which rich uses.

    Raises:
        BrokenPipeError: the pipe or terminal is closed, and no run is listening for the request.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.left = False

    def write(self, text: str) -> int:
        """Write the text with control characters as symbols; discard it if the stream is closed."""
        return self.write_unchanged(as_symbols(text))

    def write_unchanged(self, text: str) -> int:
        """Write the text with its control characters; discard it if the stream is closed."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    @property
    def rich_proxied_file(self) -> Unchanged:
        """This stream for rich's consoles, which write control characters unchanged."""
        return Unchanged(self)

    def flush(self) -> None:
        """Flush the stream, unless it is closed."""
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
    """Wrapper of a `TolerantStream` whose `write` keeps control characters."""

    def __init__(self, stream: TolerantStream) -> None:
        self._stream = stream
        self.write = stream.write_unchanged

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_closed_streams() -> None:
    """Replace streams that were closed when the process began (`>&-`) by the null device.

    Otherwise their file descriptors are reused for the next files that are opened, and libraries write their
    warnings into these files.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


@contextlib.contextmanager
def only_result_on_stdout() -> Iterator[None]:
    """Context manager in which everything written to standard output goes to standard error.

    This includes output of processes that are started in the block. The result, which is printed afterwards,
    then is all of standard output.
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
    """Context manager in which both standard streams are a `TolerantStream`.

    Characters that the streams cannot encode are written as `?`.
    """
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
                # Discard what is still buffered, so that Python reports no error when it exits.
                with contextlib.suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _flushed(stream: TolerantStream) -> bool:
    """Flush the stream; returns False if its disk is full or its reader has gone."""
    try:
        stream.flush()
    except (OSError, ValueError):
        return False
    return True
