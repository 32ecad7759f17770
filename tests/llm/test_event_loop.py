"""Coroutines from plain functions: with no loop, beside a running one, and interrupted there."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from boresight.llm.event_loop import EventLoop


async def double(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


def test_the_result_comes_back_with_and_without_a_running_loop() -> None:
    def call() -> list[int]:
        with EventLoop() as loop:
            return [loop.run(double(1)), loop.run(double(2))]

    async def cell() -> list[int]:
        return call()

    assert call() == asyncio.run(cell()) == [2, 4]


def test_an_interrupt_beside_a_running_loop_cancels_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for the thread raises KeyboardInterrupt, as Ctrl-C does in a notebook's kernel."""
    began, ended = threading.Event(), threading.Event()
    submitted: list[Any] = []

    async def forever() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    class Interrupting(ThreadPoolExecutor):
        def submit(self, *args: Any) -> Any:  # type: ignore[override]
            future = super().submit(*args)

            def interrupt() -> None:
                began.wait(10)
                raise KeyboardInterrupt

            if not submitted:  # the next one closes the loop
                monkeypatch.setattr(future, "result", interrupt)
            submitted.append(future)
            return future

    monkeypatch.setattr("boresight.llm.event_loop.ThreadPoolExecutor", Interrupting)

    async def cell() -> None:
        with EventLoop() as loop, pytest.raises(KeyboardInterrupt):
            loop.run(forever())
        assert ended.is_set()

    asyncio.run(cell())
