"""Limit requests and tokens per minute, and adapt the concurrency.

Everything here is arithmetic on times that the caller passes in, in seconds; nothing sleeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from boresight.config.section import Section

BURST_SECONDS = 0.25
"""Capacity of a bucket, in seconds of its rate: 0.4 % of a minute's limit, and enough that a late wake-up
loses no throughput."""
CUT, GROWTH_FLOOR = 0.75, 1.0
LATENCY_CUT, LATENCY_TOLERANCE, LATENCY_DRIFT = 0.9, 2.0, 1.02
FIXED_TOKENS = 50
"""Fixed cost of a request, in answer tokens, to compare the times of requests of different length."""


class LimitSection(Section):
    """Rate limits of one endpoint, shared by all requests for the same model there."""

    rpm: float | None = Field(default=None, gt=0)
    """Requests per minute; null leaves it to the server's refusals."""
    tpm: float | None = Field(default=None, gt=0)
    """Tokens per minute, prompt and answer together; null leaves it to the server's refusals."""
    tpm_counts: Literal["used", "requested"] = "used"
    """Tokens that the server counts: those used, or the prompt plus `max_tokens`."""
    max_concurrency: int = Field(default=64, gt=0)
    """Upper bound on concurrent requests; lowered while the server refuses or slows down."""
    start_concurrency: int = Field(default=8, gt=0)
    """Concurrent requests at first."""
    adapt: bool = True
    """Cut concurrency when the server refuses or slows down, and let it grow again; false keeps it fixed."""


@dataclass
class Bucket:
    """A token bucket whose level may become negative.

    A request larger than the bucket passes once the bucket is full. The level starts at 1, so that a bucket
    of requests admits at most rate · time + 1 of them within any time from the start.
    """

    per_minute: float
    level: float = 1.0
    at: float | None = None

    @property
    def capacity(self) -> float:
        """Maximum level; at least 1, the amount of one request."""
        return max(1.0, self.per_minute / 60 * BURST_SECONDS)

    def wait(self, amount: float, now: float) -> float:
        """Return the number of seconds until `amount` may be taken."""
        self._fill(now)
        missing = min(amount, self.capacity) - self.level
        return max(0.0, missing / (self.per_minute / 60))

    def take(self, amount: float, now: float) -> None:
        """Take `amount`; the level may become negative."""
        self._fill(now)
        self.level -= amount

    def give_back(self, amount: float, now: float) -> None:
        """Return to the bucket an amount that was taken and not used."""
        self._fill(now)
        self.level = min(self.capacity, self.level + amount)

    def _fill(self, now: float) -> None:
        if self.at is not None:
            self.level = min(self.capacity, self.level + (now - self.at) * self.per_minute / 60)
        self.at = now


@dataclass
class Concurrency:
    """Adaptive limit of concurrent requests: additive increase, multiplicative decrease.

    The limit doubles every round until the first decrease, then grows by one per round. A refusal (429)
    lowers it by a quarter, once per burst: refusals of requests that were sent before the decrease are
    ignored. Servers without a limit of their own queue requests in place of refusing them, so a round that
    takes more than twice as long per token as the best one lowers the limit by a tenth.
    """

    limit: float
    most: int
    slow_start: bool = True
    cut_at: float = -math.inf
    best: float = math.inf
    round_seconds: float = 0.0
    round_tokens: int = 0
    round_left: int = 8

    @property
    def allowed(self) -> int:
        return max(1, int(self.limit))

    def succeeded(self, started: float, now: float, tokens: int, under_way: int) -> None:
        """Record a success; the limit grows only if at least half of it is in use."""
        self.round_seconds += now - started
        self.round_tokens += tokens + FIXED_TOKENS
        self.round_left -= 1
        if under_way >= self.limit / 2:
            step = 1.0 if self.slow_start else 1.0 / self.limit
            self.limit = min(self.most, self.limit + step)
        if self.round_left <= 0:
            self._end_round(now)

    def refused(self, started: float, now: float) -> None:
        """Record that the server returned 429 to a request sent at `started`."""
        if started > self.cut_at:
            self._cut(CUT, now)

    def _end_round(self, now: float) -> None:
        pace = self.round_seconds / self.round_tokens
        # The best pace drifts up slowly, so that a lasting change becomes the new normal.
        self.best = min(self.best * LATENCY_DRIFT, pace)
        if pace > self.best * LATENCY_TOLERANCE:
            self._cut(LATENCY_CUT, now)
        self.round_seconds, self.round_tokens = 0.0, 0
        self.round_left = max(8, self.allowed)

    def _cut(self, factor: float, now: float) -> None:
        self.limit = max(GROWTH_FLOOR, self.limit * factor)
        self.slow_start, self.cut_at = False, now


@dataclass
class Limits:
    """All rate limits of one endpoint and model."""

    settings: LimitSection
    concurrency: Concurrency = field(init=False)
    requests: Bucket | None = field(init=False)
    tokens: Bucket | None = field(init=False)
    paused_until: float = -math.inf

    def __post_init__(self) -> None:
        s = self.settings
        start = min(s.start_concurrency, s.max_concurrency) if s.adapt else s.max_concurrency
        self.concurrency = Concurrency(start, s.max_concurrency)
        self.requests = Bucket(s.rpm) if s.rpm else None
        self.tokens = Bucket(s.tpm) if s.tpm else None

    def wait(self, tokens: int, now: float, under_way: int) -> float:
        """Return the number of seconds until a request of `tokens` may be sent.

        It is infinite while the maximum number of requests is in flight.
        """
        if under_way >= self.concurrency.allowed:
            return math.inf
        waits = [self.paused_until - now, 0.0]
        waits += [self.requests.wait(1, now)] if self.requests else []
        waits += [self.tokens.wait(tokens, now)] if self.tokens else []
        return max(waits)

    def take(self, tokens: int, now: float) -> None:
        """Record that a request of `tokens` (prompt and maximum answer) is sent."""
        if self.requests:
            self.requests.take(1, now)
        if self.tokens:
            self.tokens.take(tokens, now)

    def used(self, reserved: int, actual: int, now: float) -> None:
        """Replace the reserved tokens of a finished request by the actual number."""
        if self.tokens and self.settings.tpm_counts == "used":
            self.tokens.give_back(reserved - actual, now)

    def succeeded(self, started: float, now: float, tokens: int, under_way: int) -> None:
        """Record an answer of `tokens` tokens to a request sent at `started`."""
        if self.settings.adapt:
            self.concurrency.succeeded(started, now, tokens, under_way)

    def refused(self, started: float, now: float, retry_after: float | None) -> None:
        """Record a 429 response: lower the concurrency, and pause all requests for `retry_after` seconds."""
        if self.settings.adapt:
            self.concurrency.refused(started, now)
        if retry_after is not None:
            self.paused_until = max(self.paused_until, now + retry_after)
