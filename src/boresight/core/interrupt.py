"""Stop a run after the current step and save its state, on Ctrl-C, SIGTERM, or a closed terminal or pipe."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from boresight.core.errors import OneSentence

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)
SIGPIPE = int(getattr(signal, "SIGPIPE", 13))


class Interrupted(OneSentence):
    """The run stopped at a checkpoint after the signal `number`; the message contains the command to
    resume."""

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = number


class StopRequest:
    """A signal handler that records whether a stop was requested, and by which signal.

    A second signal raises KeyboardInterrupt.

    Args:
        reply: line that the first signal prints on standard error.
    """

    def __init__(self, reply: str = "") -> None:
        self.reply, self.made = reply, False
        self.number: int = signal.SIGINT

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: record the request, or raise KeyboardInterrupt if there was one before."""
        if self.made:
            raise KeyboardInterrupt
        self.made, self.number = True, number
        if self.reply:
            with suppress(OSError):  # the signal may be due to a closed terminal
                os.write(2, f"\n{self.reply}\n".encode())  # the signal may have interrupted a print


_requests: list[StopRequest] = []
"""Stop requests of the runs in progress. A request that was made stays until the next call of `listening`."""


@contextmanager
def listening(reply: str = "") -> Iterator[StopRequest]:
    """Inside the block, signals set the yielded `StopRequest` instead of ending the process; the first prints
    `reply`.

    Signals are not handled outside the main thread.
    """
    request = StopRequest(reply)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in SIGNALS}
    _requests[:] = [*(other for other in _requests if not other.made), request]
    try:
        yield request
    finally:
        if not request.made:
            _requests.remove(request)
        for number, handler in before.items():
            signal.signal(number, handler)


def request_stop(number: int) -> bool:
    """Request a stop, as the signal `number` would.

    Returns:
        Whether a run will stop because of the request, or is stopping already.
    """
    for request in _requests:
        if not request.made:
            request.made, request.number = True, number
    return bool(_requests)
