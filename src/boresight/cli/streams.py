"""Standard streams whose pipe or terminal is closed during a run, as in `boresight train … | head -3`."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from boresight.core.interrupt import SIGPIPE, request_stop

NO_READER = (errno.EPIPE, errno.EIO)
"""Errors of a pipe and of a terminal that are closed at the other end."""


class ReaderMayLeave:
    """A text stream that discards output once its pipe or terminal is closed, and asks the run to stop.

    Raises:
        BrokenPipeError: the pipe or terminal is closed, and no run is listening for the request.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.left = False

    def write(self, text: str) -> int:
        """Write, or drop the text."""
        self._try(lambda: self._stream.write(text))
        return len(text)

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


@contextlib.contextmanager
def readers_may_leave() -> Iterator[None]:
    """Inside the block both standard streams are such streams; `?` stands for letters they cannot encode."""
    plain = sys.stdout, sys.stderr
    for stream in plain:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    ours = tuple(ReaderMayLeave(stream) for stream in plain)
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        sys.stdout, sys.stderr = plain
        for stream in ours:
            if stream.left:  # what is still buffered goes nowhere, and Python does not complain when it ends
                with contextlib.suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
