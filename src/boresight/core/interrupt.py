"""Stop a run after the current step, with everything saved, on Ctrl-C, SIGTERM, or a closed terminal or
pipe."""

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
    """Whether a stop was requested, and by which signal. A second signal raises KeyboardInterrupt.

    `reply` is a line for standard error that the first signal prints.
    """

    def __init__(self, reply: str = "") -> None:
        self.reply, self.made = reply, False
        self.number: int = signal.SIGINT

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.made:
            raise KeyboardInterrupt
        self.made, self.number = True, number
        if self.reply:
            with suppress(OSError):  # the terminal may be what was closed
                os.write(2, f"\n{self.reply}\n".encode())  # print may be what the signal interrupted


_requests: list[StopRequest] = []
"""Those that are listening, and the last one that was made, whose run is coming to its end."""


@contextmanager
def listening(reply: str = "") -> Iterator[StopRequest]:
    """Inside the block signals set a `StopRequest` instead of ending the process; the first prints `reply`.

    A no-op outside the main thread.
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
    """Request a stop, as the signal would; returns whether a run will stop because of it, or is stopping
    already."""
    for request in _requests:
        if not request.made:
            request.made, request.number = True, number
    return bool(_requests)
