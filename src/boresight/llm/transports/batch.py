"""Send requests through OpenAI's batch API, at half the price, within up to a day.

Waiting requests are written to a JSON Lines file, one per line with the ledger key as `custom_id`. Results
are joined on that id, in any order. Which requests a batch contains is stored in the ledger before the batch
is created, so that after a crash the batch is found again and not paid twice. That record is deleted in the
transaction that stores the response, or its failure (`Ledger.complete`, `Ledger.fail`).

Until the batch exists, a failing server ends the run after the usual number of attempts. An existing batch is
polled for as long as it takes.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from boresight.llm.ledger import Ledger
from boresight.llm.replies.failures import (
    RETRIED,
    RequestFailure,
    Stopped,
    classify_error,
    classify_status,
    unreadable,
)
from boresight.llm.replies.json_text import parse_body
from boresight.llm.replies.retries import ATTEMPTS, FIRST_PAUSE, pause_after
from boresight.llm.request import Request
from boresight.llm.transports.openai import (
    OpenAITransport,
    TokenLimit,
    classify,
    completion_in,
    request_body,
)

if TYPE_CHECKING:
    from openai.types import Batch

T = TypeVar("T")
MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000
"""Maximum size of a batch file in bytes; OpenAI's limits of 2026 are 50,000 requests (`MOST_REQUESTS`) and
200 MB."""
MOST_RESULT_BYTES = 2**29
"""Maximum size of a file of results, in bytes."""
POLL_EVERY = 30.0
LINGER = 1.0
"""Seconds without a new request after which the waiting requests are sent as a batch."""
UNSENT = "?"
"""Prefix of the ledger's record of a batch that was about to be created; the rest is the mark by which the
server's batches are searched."""
MARK = "boresight"
OVER = {"completed", "failed", "expired", "cancelled"}

Waiting = tuple[Request, "asyncio.Future[dict[str, Any]]"]


class BatchTransport(OpenAITransport):
    """Transport through the batch API; `send` returns when the batch of the request has ended.

    The module docstring describes how requests are assigned to batches.
    """

    def __init__(
        self,
        base_url: str,
        ledger: Ledger,
        key_env: str = "OPENAI_API_KEY",
        *,
        structured: Literal["schema", "object", "prompt"] = "schema",
        token_limit: TokenLimit = "max_tokens",
        poll_every: float = POLL_EVERY,
        linger: float = LINGER,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        super().__init__(
            base_url, key_env, structured=structured, token_limit=token_limit, most_bytes=MOST_RESULT_BYTES
        )
        self.ledger, self.poll_every, self.linger = ledger, poll_every, linger
        self.first_pause = first_pause
        self.on_failure: Callable[[RequestFailure], None] = lambda failure: None
        """Called with each failure of a call that this transport retries itself."""
        self._waiting: list[Waiting] = []
        self._collector: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, request: Request) -> dict[str, Any]:
        """Send a request in the next batch, and return the body of its response (see `Transport.send`)."""
        promise: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, promise))
        if self._collector is None:
            self._collector = asyncio.create_task(self._collect())
        return await promise

    async def close(self) -> None:
        """Close connections. Batches continue on the server, and the next process finds them again."""
        for task in self._tasks:
            task.cancel()
        await super().close()

    async def _collect(self) -> None:
        """Wait until no more requests arrive, then assign them to batches, existing batches first."""
        count = -1
        while count != len(self._waiting):
            count = len(self._waiting)
            await asyncio.sleep(self.linger)
        waiting, self._waiting, self._collector = self._waiting, [], None
        for batch, keys in self.ledger.batches().items():
            there = set(keys)
            mine = [one for one in waiting if one[0].key in there]
            waiting = [one for one in waiting if one[0].key not in there]
            if mine:
                self._start(self._resume(batch, mine), mine)
        for part in _parts(waiting, self._line):
            self._start(self._submit(part), part)

    def _start(self, work: Awaitable[None], waiting: Sequence[Waiting]) -> None:
        """Run `work` in the background; an exception is passed to the waiting requests."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                for _, promise in waiting:
                    if not promise.done():
                        promise.set_exception(error)

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _submit(self, waiting: Sequence[Waiting]) -> None:
        content = b"".join(self._line(request) for request, _ in waiting)
        keys, mark = [request.key for request, _ in waiting], secrets.token_hex(8)
        self.ledger.batch(keys, UNSENT + mark)
        file = await self._to_send(
            lambda: self._client.files.create(file=("batch.jsonl", content), purpose="batch")
        )
        batch = await self._created(file.id, mark)
        self.ledger.batch(keys, batch)
        await self._finish(batch, waiting)

    async def _created(self, file: str, mark: str) -> str:
        """Create the batch and return its id.

        After a lost reply the batch may exist already, so every retry searches for it first.
        """
        attempts = count()

        async def create() -> str:
            if next(attempts) and (found := await self._find(mark)) is not None:
                return found
            batch = await self._client.batches.create(
                input_file_id=file,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={MARK: mark},
            )
            return batch.id

        return await self._to_send(create)

    async def _resume(self, batch: str, waiting: Sequence[Waiting]) -> None:
        """Continue a batch of an earlier process.

        The batch is found by its id, or by its mark if the earlier process did not receive the id.
        """
        if not batch.startswith(UNSENT):
            await self._finish(batch, waiting)
            return
        found = await self._to_send(lambda: self._find(batch.removeprefix(UNSENT)))
        if found is None:
            await self._submit(waiting)
            return
        self.ledger.batch([request.key for request, _ in waiting], found)
        await self._finish(found, waiting)

    async def _find(self, mark: str) -> str | None:
        async for batch in self._client.batches.list(limit=100):
            if (batch.metadata or {}).get(MARK) == mark:
                return str(batch.id)
        return None

    async def _finish(self, batch: str, waiting: Sequence[Waiting]) -> None:
        """Wait for the batch to end, and pass each waiting request its line of the result files."""
        while (state := await self._call(lambda: self._client.batches.retrieve(batch))).status not in OVER:
            await asyncio.sleep(self.poll_every)
        results, problem = await self._results(state)
        if state.status == "cancelled" and (
            left := [request.key for request, _ in waiting if request.key not in results]
        ):
            # The server did not process these; the next process sends them in another batch.
            self.ledger.batch(left, UNSENT + secrets.token_hex(8))
        for request, promise in waiting:
            self._deliver(promise, results.get(request.key), state, problem)

    async def _results(self, batch: Batch) -> tuple[dict[str, dict[str, Any]], str]:
        """Return the lines of the batch's files by request key, and why any is unreadable ('' if none)."""
        results: dict[str, dict[str, Any]] = {}
        problem = ""
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            content = await self._call(partial(self._client.files.content, file))
            # Not splitlines: it also splits at characters such as U+2028, which answers may contain.
            for line in content.content.split(b"\n"):
                if not line.strip():
                    continue
                try:
                    result = parse_body(line)
                    if not _is_cancelled(result):
                        results[str(result.get("custom_id"))] = result
                except RequestFailure as failure:
                    problem = problem or failure.said
        return results, problem

    def _deliver(
        self,
        promise: asyncio.Future[dict[str, Any]],
        result: dict[str, Any] | None,
        batch: Batch,
        problem: str,
    ) -> None:
        if promise.done():
            return
        try:
            promise.set_result(_missing(batch, problem) if result is None else _body(result))
        except RequestFailure as failure:
            promise.set_exception(self._failure(failure))
        except Stopped as stopped:
            promise.set_exception(stopped)

    def _line(self, request: Request) -> bytes:
        line = {
            "custom_id": request.key,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": request_body(request, self.structured, self.token_limit),
        }
        return json.dumps(line, ensure_ascii=False).encode() + b"\n"

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call about an existing batch, retrying without limit so that the batch is not lost."""
        while True:
            try:
                return await call()
            except self._openai.APIError as error:
                failure = self._passing(error)
            await asyncio.sleep(max(self.poll_every, failure.retry_after or 0.0))

    async def _to_send(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call before the batch exists, with a limited number of attempts.

        Raises:
            Stopped: every attempt failed.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await call()
            except self._openai.APIError as error:
                failure = self._passing(error)
            if attempt < ATTEMPTS:
                wait = pause_after(attempt, self.first_pause, failure.retry_after, random.random())
                await asyncio.sleep(wait)
        raise Stopped(
            f"{self.base_url}: no batch could be sent, after {ATTEMPTS} attempts ({failure.kind}: "
            f"{failure.detail}); check the endpoint."
        )

    def _passing(self, error: Exception) -> RequestFailure:
        """Report and return a failure that may not occur again; raise any other."""
        failure = self._failure(classify(self._openai, error))
        if failure.kind not in RETRIED or failure.kind == "invalid_json":
            raise failure from None
        self.on_failure(failure)
        return failure


def _parts(waiting: Sequence[Waiting], line: Callable[[Request], bytes]) -> list[list[Waiting]]:
    """Divide the waiting requests into batches within the server's limits."""
    parts: list[list[Waiting]] = []
    size = MOST_BYTES
    for one in waiting:
        length = len(line(one[0]))
        if size + length > MOST_BYTES or len(parts[-1]) >= MOST_REQUESTS:
            parts.append([])
            size = 0
        parts[-1].append(one)
        size += length
    return parts


def _body(result: dict[str, Any]) -> dict[str, Any]:
    """Return the response body in a line of the result files.

    Raises:
        RequestFailure: the line contains an error, or no chat completion.
    """
    response, error = result.get("response"), result.get("error")
    if isinstance(response, dict):
        status, body = response.get("status_code"), response.get("body")
        if status == 200 and isinstance(body, dict):
            return completion_in(body)
        if isinstance(status, int) and status != 200:
            said = body.get("error") if isinstance(body, dict) else body
            raise classify_status(status, {}, said)
        raise unreadable(f"the batch's line has no body: {str(response)[:500]}")
    if isinstance(error, dict) and error.get("code") == "batch_expired":
        raise RequestFailure("timeout", "the batch expired before this request's turn")
    raise classify_error(error or "a line without response and error")


def _is_cancelled(result: dict[str, Any]) -> bool:
    """Return whether a line only reports that its request was not sent before the batch was cancelled."""
    error = result.get("error")
    return isinstance(error, dict) and error.get("code") == "batch_cancelled"


def _missing(batch: Batch, problem: str) -> NoReturn:
    """Raise the failure of a request for which the result files have no line.

    Args:
        problem: reason why some line cannot be read; '' if all can.

    Raises:
        Stopped: the batch was cancelled; its other requests are not sent again in this run.
        RequestFailure: in all other cases.
    """
    if batch.status == "cancelled":
        raise Stopped(f"the batch {batch.id} was cancelled at the server; another run sends the rest.")
    if batch.status == "failed":
        first = next(iter(getattr(batch.errors, "data", None) or []), None)
        raise RequestFailure(
            "bad_request", f"the batch was refused: {first.message if first else 'no reason given'}"
        )
    if problem:
        raise unreadable(f"a line of the batch's results cannot be read: {problem}")
    raise RequestFailure("server", f"the {batch.status} batch has no line for this request")
