"""Rate limits: requests and tokens per minute, and a concurrency that adapts.

Everything here is arithmetic on a time that the caller passes in, in seconds; nothing sleeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from boresight.config.section import Section

BURST_SECONDS = 0.25
"""Seconds of its rate that a bucket can save up: 0.4 % of a minute's limit, and enough that a late wake-up
loses no throughput."""
CUT, GROWTH_FLOOR = 0.75, 1.0
LATENCY_CUT, LATENCY_TOLERANCE, LATENCY_DRIFT = 0.9, 2.0, 1.02
FIXED_TOKENS = 50
"""Fixed cost of a call in tokens of answer, for comparing the time of calls of different length."""


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
    """A token bucket whose level may become negative: a request larger than the bucket passes once it is
    full.

    It starts with one request's worth, so that over any span from the start no more than rate · span + 1 is
    let through.
    """

    per_minute: float
    level: float = 1.0
    at: float | None = None

    @property
    def capacity(self) -> float:
        """Largest level; at least one request."""
        return max(1.0, self.per_minute / 60 * BURST_SECONDS)

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be taken."""
        self._fill(now)
        missing = min(amount, self.capacity) - self.level
        return max(0.0, missing / (self.per_minute / 60))

    def take(self, amount: float, now: float) -> None:
        """Take `amount`; the level may become negative."""
        self._fill(now)
        self.level -= amount

    def give_back(self, amount: float, now: float) -> None:
        """Return an amount that was taken and not used."""
        self._fill(now)
        self.level = min(self.capacity, self.level + amount)

    def _fill(self, now: float) -> None:
        if self.at is not None:
            self.level = min(self.capacity, self.level + (now - self.at) * self.per_minute / 60)
        self.at = now


@dataclass
class Concurrency:
    """Adaptive limit of concurrent requests: additive increase, multiplicative decrease.

    It doubles every round until the first cut, then grows by one per round. A refusal (429) cuts it by a
    quarter, once per burst: refusals of requests that were sent before the cut are ignored. Servers without a
    limit of their own queue instead of refusing, so a round that took twice as long per token as the best one
    cuts it by a tenth.
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
        """Record a success. The limit grows only while it is reached."""
        self.round_seconds += now - started
        self.round_tokens += tokens + FIXED_TOKENS
        self.round_left -= 1
        if under_way >= self.limit / 2:
            step = 1.0 if self.slow_start else 1.0 / self.limit
            self.limit = min(self.most, self.limit + step)
        if self.round_left <= 0:
            self._end_round(now)

    def refused(self, started: float, now: float) -> None:
        """The server returned 429 to a request sent at `started`."""
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
    """All limits of one endpoint and model together."""

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
        """Seconds until a request of `tokens` may be sent; infinite while all places are taken."""
        if under_way >= self.concurrency.allowed:
            return math.inf
        waits = [self.paused_until - now, 0.0]
        waits += [self.requests.wait(1, now)] if self.requests else []
        waits += [self.tokens.wait(tokens, now)] if self.tokens else []
        return max(waits)

    def take(self, tokens: int, now: float) -> None:
        """Record that a request of `tokens` (prompt and longest answer) is sent."""
        if self.requests:
            self.requests.take(1, now)
        if self.tokens:
            self.tokens.take(tokens, now)

    def used(self, reserved: int, actual: int, now: float) -> None:
        """Replace the reserved tokens of a finished request by the actual number."""
        if self.tokens and self.settings.tpm_counts == "used":
            self.tokens.give_back(reserved - actual, now)

    def succeeded(self, started: float, now: float, tokens: int, under_way: int) -> None:
        """Record an answer of `tokens` to a request sent at `started`."""
        if self.settings.adapt:
            self.concurrency.succeeded(started, now, tokens, under_way)

    def refused(self, started: float, now: float, retry_after: float | None) -> None:
        """Record a 429: lower the concurrency, and pause all requests for `retry_after` seconds."""
        if self.settings.adapt:
            self.concurrency.refused(started, now)
        if retry_after is not None:
            self.paused_until = max(self.paused_until, now + retry_after)
