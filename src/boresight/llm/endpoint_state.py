"""Queue requests per endpoint and model, and admit each when rate limits and budget allow it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from boresight.llm.budget import FREE, Budget, Cost
from boresight.llm.rate_limits import Limits


class BudgetSpent(Exception):
    """Raised if no further request fits into the budget; the message names the limit."""


class Gate:
    """First-in, first-out queue of the requests to one endpoint and model.

    A waiting request holds no resources, so a retry queues like any other request.
    """

    def __init__(self, limits: Limits, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.budget, self.clock = limits, budget, clock
        self.under_way = 0
        self.trying_since: float | None = None
        self._waiting: deque[tuple[Cost, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        budget.on_settled.append(self.admit_waiting)

    async def enter(self, cost: Cost) -> None:
        """Wait until the request may be sent; on return it is counted in limits and budget.

        Raises:
            BudgetSpent: the cost does not fit, and no request is in flight whose settling could make room.
        """
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((cost, turn))
        self.admit_waiting()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(cost, FREE)
            raise

    def leave(self, reserved: Cost, actual: Cost) -> None:
        """Remove a finished request from the limits, and settle its reserved cost with the actual one."""
        self.under_way -= 1
        self.limits.used(reserved.tokens, actual.tokens, self.clock())
        self.budget.settle(reserved, actual)  # admits waiting requests at every gate, this one too

    def succeeded(self, started: float, tokens: int) -> None:
        """Record a success.

        Args:
            started: time at which the request was sent.
            tokens: length of its answer.
        """
        self.trying_since = None
        self.limits.succeeded(started, self.clock(), tokens, self.under_way)

    def refused(self, started: float, retry_after: float | None) -> None:
        """Record a 429 response to a request sent at `started`; `retry_after` in seconds."""
        self.limits.refused(started, self.clock(), retry_after)

    def admit_waiting(self) -> None:
        """Admit waiting requests in order, as far as rate limits and budget allow."""
        while self._waiting:
            cost, turn = self._waiting[0]
            if turn.done():  # its waiter was cancelled
                self._waiting.popleft()
                continue
            if full := self.budget.exceeded(cost):
                if self.budget.under_way:
                    return  # requests in flight may cost less than was reserved
                self._waiting.popleft()
                turn.set_exception(BudgetSpent(full))
                continue
            now = self.clock()
            if (wait := self.limits.wait(cost.tokens, now, self.under_way)) > 0:
                self._wake_in(wait)
                return
            self._waiting.popleft()
            self._admit(cost, now)
            turn.set_result(None)

    def _admit(self, cost: Cost, now: float) -> None:
        self.limits.take(cost.tokens, now)
        self.budget.reserve(cost)
        self.under_way += 1
        if self.trying_since is None:
            self.trying_since = now

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not math.isinf(seconds):
            self._timer = asyncio.get_running_loop().call_later(seconds, self.admit_waiting)
