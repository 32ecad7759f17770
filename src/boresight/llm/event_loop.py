"""Run coroutines from synchronous functions, also if an event loop is already running, as in a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class EventLoop:
    """An event loop that serves several calls, since connections belong to one loop. Close it at the end.

    If the calling thread has a running loop, as a notebook's cells do, coroutines run in another thread while
    this one waits.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._task: asyncio.Task[Any] | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result.

        Ctrl-C cancels the coroutine, waits for its end, and raises KeyboardInterrupt.
        """
        return self._beside(lambda: self._runner.run(self._noted(coroutine)))

    def close(self) -> None:
        """Cancel the remaining tasks and close the loop."""
        self._beside(self._runner.close)

    def __enter__(self) -> EventLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _noted(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self._task = asyncio.current_task()
        return await coroutine

    def _beside(self, call: Callable[[], T]) -> T:
        """Call `call` in this thread if that has no running loop, else in another thread."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return call()
        with ThreadPoolExecutor(1) as thread:
            result = thread.submit(call)
            try:
                return result.result()
            except BaseException:
                if self._task is not None and not result.done():
                    self._task.get_loop().call_soon_threadsafe(self._task.cancel)
                raise
