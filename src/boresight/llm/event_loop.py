"""Run coroutines from plain functions, also where an event loop runs already, as in a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class EventLoop:
    """One loop for several calls, since connections belong to a loop. Close it at the end.

    In a thread whose own loop is running, such as that of a notebook's cells, coroutines run in another
    thread while this one waits.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result. Ctrl-C cancels it, waits for its end, and raises KeyboardInterrupt."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._runner.run(coroutine)
        return self._run_beside(coroutine)

    def close(self) -> None:
        """Cancel what is left and close the loop."""
        self._runner.close()

    def __enter__(self) -> EventLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_beside(self, coroutine: Coroutine[Any, Any, T]) -> T:
        started: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

        async def cancellable() -> T:
            task = asyncio.current_task()
            assert task is not None
            started.append((asyncio.get_running_loop(), task))
            return await coroutine

        with ThreadPoolExecutor(1) as thread:
            result = thread.submit(self._runner.run, cancellable())
            try:
                return result.result()
            except BaseException:
                for loop, task in started if not result.done() else ():
                    loop.call_soon_threadsafe(task.cancel)
                raise
