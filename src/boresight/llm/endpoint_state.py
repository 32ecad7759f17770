"""One door per endpoint and model: a request passes when limits and budget let it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from boresight.llm.budget import FREE, Budget, Cost
from boresight.llm.rate_limits import Limits


class BudgetSpent(Exception):
    """No further request fits. The message names the ceiling."""


class Gate:
    """First come, first served. Whoever waits here holds nothing, so a retry queues like any other
    request."""

    def __init__(self, limits: Limits, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.budget, self.clock = limits, budget, clock
        self.under_way = 0
        self.trying_since: float | None = None
        self._waiting: deque[tuple[Cost, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        budget.on_settled.append(self.pump)

    async def enter(self, cost: Cost) -> None:
        """Wait for a place; on return the request is counted in limits and budget.

        Raises:
            BudgetSpent: it does not fit, and no request is in flight whose settling could make room.
        """
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((cost, turn))
        self.pump()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(cost, FREE)
            raise

    def leave(self, reserved: Cost, actual: Cost) -> None:
        """Give the place back, and say what the request came to."""
        self.under_way -= 1
        self.limits.used(reserved.tokens, actual.tokens, self.clock())
        self.budget.settle(reserved, actual)  # pumps every gate, this one too

    def succeeded(self, started: float, tokens: int) -> None:
        """The server answered."""
        self.trying_since = None
        self.limits.succeeded(started, self.clock(), tokens, self.under_way)

    def refused(self, started: float, retry_after: float | None) -> None:
        """The server returned 429."""
        self.limits.refused(started, self.clock(), retry_after)

    def pump(self) -> None:
        """Let pass whoever may, in order."""
        while self._waiting:
            cost, turn = self._waiting[0]
            if turn.done():  # its waiter was cancelled
                self._waiting.popleft()
                continue
            if full := self.budget.exceeded(cost):
                if self.budget.under_way:
                    return  # what settles may come to less than was reserved
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
            self._timer = asyncio.get_running_loop().call_later(seconds, self.pump)
