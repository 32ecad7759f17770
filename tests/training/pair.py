"""Two processes that work together, started once for a whole test file.

    pair.run(function, *args)      # called in both, as torchrun would start them; one result each

They talk over loopback with gloo. `function` must be importable by its name.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Failed:
    """What a process that raised sends in place of a result."""

    error: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class Died:
    """In place of the result of a process that was killed."""


class Pair:
    """Two spawned processes; one that has died is replaced at the next call."""

    def __init__(self, cache: str) -> None:
        self._cache = cache
        self._workers: list[Any] = [None, None]

    def run(self, function: Any, *args: Any) -> list[Any]:
        """Results of `function(*args)` in process 0 and process 1; neither may fail."""
        results = self.end(function, *args)
        failed = [result for result in results if isinstance(result, Failed | Died)]
        assert not failed, "\n".join(getattr(result, "traceback", "killed") for result in failed)
        return results

    def end(self, function: Any, *args: Any) -> list[Any]:
        """How each of them ends: with a result, or as `Failed` or `Died`."""
        port = free_port()
        for number in (0, 1):
            self._start(number)
        for _, connection in self._workers:
            connection.send((function, args, port))
        return [self._result(connection) for _, connection in self._workers]

    def close(self) -> None:
        """End both."""
        for process, connection in filter(None, self._workers):
            connection.close()
            process.join(20)
            process.kill()

    def _start(self, number: int) -> None:
        worker = self._workers[number]
        if worker and worker[0].is_alive():
            return
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(number, theirs, self._cache), daemon=True)
        process.start()
        theirs.close()
        self._workers[number] = process, ours

    def _result(self, connection: Any) -> Any:
        try:
            if not connection.poll(180):
                return Failed("TimeoutError", "no result after three minutes")
            return connection.recv()
        except (EOFError, ConnectionResetError):
            return Died()


def serve(number: int, connection: Any, cache: str) -> None:
    """The loop of one process."""
    from pathlib import Path

    import torch

    from boresight.models.reference import cache as reference_cache
    from boresight.training.distributed.collectives import joined

    torch.set_num_threads(1)
    reference_cache._default_folder = lambda: Path(cache)
    while True:
        try:
            function, args, port = connection.recv()
        except EOFError:
            return
        os.environ |= environment(number, port)
        try:
            with joined():
                result = function(*args)
        except BaseException as error:
            result = Failed(type(error).__name__, str(error), traceback.format_exc())
            leave()
        connection.send(result)


def environment(number: int, port: int) -> dict[str, str]:
    """What torchrun tells process `number` of two on one machine."""
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return there | {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}


def leave() -> None:
    """Forget a group whose other process has failed, as the end of a process would."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
