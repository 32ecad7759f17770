"""Ctrl-C and SIGTERM end a run after the step in hand, with everything saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The run was asked to stop and did, at a checkpoint; the message says how to go on."""


class StopRequest:
    """Whether somebody has asked the run to stop. A second request is not held back."""

    def __init__(self) -> None:
        self.made = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.made:
            raise KeyboardInterrupt
        self.made = True


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Inside the block signals are noted instead of ending the process. A no-op outside the main thread."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
