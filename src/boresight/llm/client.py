"""Send requests asynchronously, for generating and for judging.

    async with Client(ledger, [endpoint], Budget(...)) as client:
        await client.each(rows, lambda row: client.ask(request_of(row)))

`ask` returns the reply in the ledger if there is one; otherwise it sends the request and stores the reply
before returning it. The order in which replies arrive has no effect: read results from the ledger afterwards,
in any order.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from boresight.llm.budget import FREE, Budget, Cost, Price, worst_case
from boresight.llm.endpoint_state import BudgetSpent, Gate
from boresight.llm.ledger import Ledger
from boresight.llm.rate_limits import Limits, LimitSection
from boresight.llm.replies.failures import RETRIED, RequestFailure, Stopped
from boresight.llm.replies.reply import Reply, Usage, failed, read_body
from boresight.llm.replies.retries import ATTEMPTS, FIRST_PAUSE, pause_after
from boresight.llm.replies.usable import Reader, UsableReplies, usual_reader
from boresight.llm.replies.usage import counted
from boresight.llm.request import Request
from boresight.llm.transports.inprocess import IN_PROCESS
from boresight.llm.transports.openai import Transport

T = TypeVar("T")

BILLED_ATTEMPTS = 3
"""Maximum number of attempts at a request if every attempt may be billed, because a body was received that
cannot be read."""
NOT_FOUND = ("HTTP 404", "HTTP 405")
CHECK_ADDRESS = "check the model's name and base_url, which usually ends in /v1"
"""Advice in the error message if an address or a model does not exist."""
STUCK_AFTER = 300.0
"""Seconds without any answer after which a run stops."""


@dataclass(frozen=True)
class Endpoint:
    """A model behind a transport, with its rate limits and its price (None if unknown)."""

    model: str
    transport: Transport
    limits: LimitSection = field(default_factory=LimitSection)
    price: Price | None = None
    timeout: float = 120.0
    slow: bool = False
    """Whether the model runs in this process or in a batch; it then has no time limit and never counts as
    stuck."""


@dataclass
class Progress:
    """Counters of a run, for the progress display."""

    answered: int = 0
    cached: int = 0
    given_up: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Number of failed attempts by kind."""
    first_failure: dict[str, str] = field(default_factory=dict)
    """Message of the first failure of each kind."""
    told: set[str] = field(default_factory=set)
    """Kinds of failures whose first message has been printed."""
    unusable: Counter[str] = field(default_factory=Counter)
    """Number of answers that were received but cannot be used (truncated, refused), by kind."""
    estimated: int = 0
    """Number of answers whose reported usage was replaced by an estimate."""
    tokens: int = 0


class _Door:
    """An endpoint and the queue (`Gate`) of its requests."""

    def __init__(self, endpoint: Endpoint, budget: Budget) -> None:
        self.endpoint = endpoint
        self.gate = Gate(Limits(endpoint.limits), budget)


class Client:
    """Asynchronous client of language-model endpoints; use it inside `async with`.

    The module docstring has an example.
    """

    def __init__(
        self,
        ledger: Ledger,
        endpoints: Sequence[Endpoint],
        budget: Budget | None = None,
        *,
        attempts: int = ATTEMPTS,
        first_pause: float = FIRST_PAUSE,
        stuck_after: float = STUCK_AFTER,
    ) -> None:
        self.ledger = ledger
        self.budget = budget or Budget.continued(Budget().ceilings, ledger.spent())
        self.attempts, self.first_pause, self.stuck_after = attempts, first_pause, stuck_after
        self.progress = Progress()
        self.usable = UsableReplies()
        self.show_failures: Callable[[], None] = lambda: None
        """Called at every failed attempt; prints the first of each kind where there is a display."""
        self.over_budget: str | None = None
        self._doors = {(e.transport.base_url, e.model): _Door(e, self.budget) for e in endpoints}
        self._asked: dict[str, asyncio.Future[Reply]] = {}
        self._jitter = random.Random(0)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        for transport in {id(t): t for t in (d.endpoint.transport for d in self._doors.values())}.values():
            await transport.close()

    @property
    def window(self) -> int:
        """Maximum number of requests to hold at a time: those in flight, and a queue of waiting ones."""
        return 2 * sum(door.endpoint.limits.max_concurrency for door in self._doors.values()) + 16

    def concurrency(self) -> int:
        """Return the number of requests that may be in flight now, summed over endpoints."""
        return sum(door.gate.limits.concurrency.allowed for door in self._doors.values())

    async def ask(self, request: Request) -> Reply:
        """Return the reply to a request: from the ledger, or sent now and stored.

        A failure is a reply with `failure` set, never an empty answer.

        Raises:
            Stopped: the key is refused, the account is empty, or the endpoint does not answer.
        """
        if not request.is_text:
            return self._give_up(request, "invalid_text", "the request has half a surrogate pair in it")
        if (body := self.ledger.get(request.key)) is not None:
            self.progress.cached += 1
            return read_body(body)
        if (same := self._asked.get(request.key)) is not None:
            return await asyncio.shield(same)
        promise: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[request.key] = promise
        try:
            reply = await self._buy(request)
            promise.set_result(reply)
            return reply
        finally:
            del self._asked[request.key]
            promise.cancel()

    async def each(self, items: Iterable[T], do: Callable[[T], Awaitable[object]]) -> None:
        """Run `do` on every item, a bounded number at a time, so that memory does not grow with their number.

        Raises:
            Stopped: for the reasons of `ask`; requests in flight are cancelled.
        """
        places = asyncio.Semaphore(self.window)
        try:
            async with asyncio.TaskGroup() as watched:
                watch = watched.create_task(self._watch())
                async with asyncio.TaskGroup() as group:
                    for item in items:
                        await places.acquire()
                        task = group.create_task(_one(do, item))
                        task.add_done_callback(lambda _: places.release())
                watch.cancel()
        except BaseExceptionGroup as several:
            raise _first(several) from None

    def probe(self, request: Request) -> AbstractAsyncContextManager[None]:
        """Return a context manager for one request whose reply is reported to `usable`.

        Until a reply was usable, only a few requests can be inside such a context at a time; afterwards any
        number. The number is not limited for a model in this process, which costs nothing, and for a batch,
        which is paid as a whole.
        """
        if self._doors[request.endpoint, request.model].endpoint.slow:
            return nullcontext()
        return self.usable.probe(request.stage, request.model)

    async def ask_usable(self, request: Request, read: Reader = usual_reader) -> Reply:
        """Send a request as `ask` does, but raise if none of the first replies can be used.

        Args:
            read: returns the reason why a reply cannot be used; None if it can.

        Raises:
            Stopped: for the reasons of `UsableReplies.note` and `ask`.
        """
        async with self.probe(request):
            reply = await self.ask(request)
            failure, detail, text = reply.failure, reply.detail, ""
            if failure is None and (problem := read(reply)) is not None:
                failure, detail, text = "invalid_json", problem, reply.text
            self.usable.note(request.stage, request.model, failure, detail, text)
        return reply

    async def _buy(self, request: Request) -> Reply:
        """Send a request until there is a response, or until another attempt is pointless."""
        door = self._doors[request.endpoint, request.model]
        cost = worst_case(request, door.endpoint.price)
        for attempt in range(1, self.attempts + 1):
            if self.over_budget:
                return failed("budget", self.over_budget)
            try:
                return await self._attempt(door, request, cost)
            except BudgetSpent as spent:
                self.over_budget = str(spent)
                return failed("budget", self.over_budget)
            except RequestFailure as failure:
                last = failure
            self._count(last, door)
            billed = last.kind == "invalid_json" and attempt >= BILLED_ATTEMPTS
            if last.kind not in RETRIED or attempt == self.attempts or billed:
                break
            await asyncio.sleep(self._pause(attempt, last.retry_after))
        return self._give_up(request, last.kind, last.detail)

    def _give_up(self, request: Request, kind: str, detail: str) -> Reply:
        """Record that the request has no response in this run; the next run sends it again."""
        self.progress.given_up += 1
        self.ledger.give_up(request, kind, detail)
        return failed(kind, detail)

    async def _attempt(self, door: _Door, request: Request, cost: Cost) -> Reply:
        gate = door.gate
        await gate.enter(cost)
        ticket = self.ledger.reserve(request, cost.tokens, cost.usd)
        actual = cost  # an interrupted attempt counts at its maximum cost, since it may be billed
        started = gate.clock()
        try:
            async with asyncio.timeout(door.endpoint.timeout):
                body = await door.endpoint.transport.send(request)
            reply = Reply.read(body)
            usage, doubt = _usage(request, reply)
            actual = Cost(usage.total, price.of(usage) if (price := door.endpoint.price) else 0.0)
            self.ledger.complete(ticket, request, body, actual.tokens, actual.usd, doubt)
        except TimeoutError:
            failure = RequestFailure(
                "timeout", f"request timed out after {door.endpoint.timeout:g} s", perhaps_billed=True
            )
            raise self._settle_failed(gate, ticket, request, failure, started) from None
        except RequestFailure as failure:
            actual = cost if failure.perhaps_billed else FREE
            raise self._settle_failed(gate, ticket, request, failure, started) from None
        finally:
            gate.leave(cost, actual)
        gate.succeeded(started, usage.completion)
        self._note(reply, actual, doubt)
        return reply

    def _settle_failed(
        self, gate: Gate, ticket: int, request: Request, failure: RequestFailure, started: float
    ) -> RequestFailure:
        self.ledger.fail(ticket, request, failure.kind, failure.perhaps_billed)
        if failure.kind == "rate_limit":
            gate.refused(started, failure.retry_after)
        return failure

    def _note(self, reply: Reply, actual: Cost, doubt: str) -> None:
        progress = self.progress
        progress.answered += 1
        progress.tokens += actual.tokens
        if reply.failure:
            progress.unusable[reply.failure] += 1
            progress.first_failure.setdefault(reply.failure, reply.detail)
        if doubt:
            progress.estimated += 1
            said = f"the server reported {doubt}; {actual.tokens:,} tokens are counted instead"
            progress.first_failure.setdefault("estimated usage", said)

    def note_failure(self, failure: RequestFailure) -> None:
        """Count a failed attempt; also called by transports that retry requests themselves."""
        self.progress.failures[failure.kind] += 1
        self.progress.first_failure.setdefault(failure.kind, failure.detail)
        self.show_failures()

    def _count(self, failure: RequestFailure, door: _Door) -> None:
        self.note_failure(failure)
        where = f"{door.endpoint.transport.base_url} ({door.endpoint.model})"
        if failure.kind == "auth":
            raise Stopped(f"{where} refuses access: {failure.detail}; set a valid key.")
        if failure.kind == "no_money":
            raise Stopped(f"{where} has no money left: {failure.detail}; add credit there.")
        if failure.kind == "bad_request" and not (self.progress.answered or self.progress.cached):
            fix = CHECK_ADDRESS if failure.detail.startswith(NOT_FOUND) else "change the recipe"
            raise Stopped(f"{where} does not take the request: {failure.detail}; {fix}.", other_recipe=True)

    def _pause(self, attempt: int, retry_after: float | None) -> float:
        """Return the number of seconds to wait before the next attempt."""
        return pause_after(attempt, self.first_pause, retry_after, self._jitter.random())

    async def _watch(self) -> None:
        """Raise `Stopped` if an endpoint has answered no request for `stuck_after` seconds."""
        while True:
            await asyncio.sleep(min(1.0, self.stuck_after / 4))
            for door in (door for door in self._doors.values() if not door.endpoint.slow):
                since, now = door.gate.trying_since, door.gate.clock()
                if since is not None and now - since > self.stuck_after:
                    raise Stopped(self._stuck(door))

    def _stuck(self, door: _Door) -> str:
        kinds = ", ".join(f"{n} × {kind}" for kind, n in self.progress.failures.most_common())
        return (
            f"{door.endpoint.transport.base_url} ({door.endpoint.model}) answered nothing for "
            f"{self.stuck_after:g} s ({kinds or 'it only stalls'}); check the endpoint."
        )


def _usage(request: Request, reply: Reply) -> tuple[Usage, str]:
    """Return the tokens to count for a response, and why they are an estimate ('' if they are not)."""
    if request.endpoint == IN_PROCESS and reply.usage is not None:  # counted here
        return reply.usage, ""
    return counted(request, reply)


async def _one(do: Callable[[T], Awaitable[object]], item: T) -> None:
    await do(item)


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the innermost first exception of a group.

    One failure cancels all other tasks, so the other exceptions are its consequences.
    """
    inner = several.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
