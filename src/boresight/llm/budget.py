"""Enforce the spending limits of a run: reserve cost before sending, settle it afterwards, continue on
resume."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import Field

from boresight.config.section import Section
from boresight.core.errors import UserError
from boresight.llm.ledger import Spent
from boresight.llm.replies.reply import Usage
from boresight.llm.request import Request

MILLION = 1_000_000
PROBE = 1_000
"""Number of tokens for which a price is looked up. It is small, since above 200,000 tokens in one request
some models cost twice as much per token."""


class Price(Section):
    """Dollars per million tokens."""

    input: float = Field(ge=0)
    """Prompt tokens."""
    output: float = Field(ge=0)
    """Answer tokens."""
    cached_input: float | None = Field(default=None, ge=0)
    """Prompt tokens that the server had in its cache; null prices them like the others."""

    def of(self, usage: Usage) -> float:
        """Return the price of the tokens of one response, in dollars.

        >>> Price(input=0.4, output=1.6).of(Usage(prompt=1000, completion=500))
        0.0012
        """
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = usage.prompt - usage.cached
        return (fresh * self.input + usage.cached * cached + usage.completion * self.output) / MILLION

    def halved(self) -> Price:
        """Return the prices of the batch API, which are half of these."""
        cached = None if self.cached_input is None else self.cached_input / 2
        return Price(input=self.input / 2, output=self.output / 2, cached_input=cached)


class BudgetSection(Section):
    """Spending limits for the whole run, however often it is resumed; null is no limit."""

    max_usd: float | None = Field(default=None, gt=0)
    """Dollars; the price of every model must be known."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Prompt and answer tokens."""
    max_requests: int | None = Field(default=None, gt=0)
    """Requests sent, failed ones included."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens and dollars of a request; dollars are 0 where the price is unknown."""

    tokens: int
    usd: float


FREE = Cost(0, 0.0)


def worst_case(request: Request, price: Price | None) -> Cost:
    """Return the maximum cost of a request: estimated prompt tokens, and `max_tokens` answer tokens."""
    usage = Usage(request.prompt_tokens, request.max_tokens)
    return Cost(usage.total, price.of(usage) if price else 0.0)


@dataclass
class Budget:
    """Requests, tokens and dollars that a run has spent, with the limits in `ceilings`.

    `tokens` and `usd` include the cost that is reserved for requests in flight, so the limits can be exceeded
    only if prompt tokens were underestimated. `under_way` is the number of requests in flight.
    """

    ceilings: BudgetSection = field(default_factory=BudgetSection)
    requests: int = 0
    tokens: int = 0
    usd: float = 0.0
    under_way: int = 0
    reserved_usd: float = 0.0
    """The part of `usd` that is reserved for requests in flight."""
    on_settled: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def continued(cls, ceilings: BudgetSection, spent: Spent) -> Budget:
        """Create a budget that starts from the cost of earlier runs on the same ledger."""
        return cls(ceilings, spent.requests, spent.tokens, spent.usd)

    def exceeded(self, cost: Cost = FREE) -> str | None:
        """Return the limit that one more request of this cost would exceed, as text; None without one."""
        would_be = {
            "max_usd": self.usd + cost.usd,
            "max_tokens": self.tokens + cost.tokens,
            "max_requests": self.requests + 1,
        }
        for name, amount in would_be.items():
            ceiling = getattr(self.ceilings, name)
            if ceiling is not None and amount > ceiling:
                return f"budget.{name} = {ceiling:,}"
        return None

    def reserve(self, cost: Cost) -> None:
        """Reserve the maximum cost of a request, immediately before it is sent."""
        self.requests += 1
        self.under_way += 1
        self.reserved_usd += cost.usd
        self._add(cost, 1)

    def settle(self, reserved: Cost, actual: Cost) -> None:
        """Replace a reservation by the actual cost, and call the functions in `on_settled`."""
        self.under_way -= 1
        self.reserved_usd -= reserved.usd
        self._add(reserved, -1)
        self._add(actual, 1)
        for told in self.on_settled:
            told()

    @property
    def spent_usd(self) -> float:
        """Dollars spent, without reservations."""
        return self.usd - self.reserved_usd

    def _add(self, cost: Cost, sign: int) -> None:
        self.tokens += sign * cost.tokens
        self.usd += sign * cost.usd


def find_price(model: str, given: Price | None) -> Price | None:
    """Return the price of a model: the given one, else that of `genai-prices` if installed, else None."""
    if given is not None:
        return given
    try:
        from genai_prices import Usage as Counted
        from genai_prices import calc_price
    except ImportError:
        return None
    try:
        found = calc_price(Counted(input_tokens=PROBE, output_tokens=PROBE), model)
    except LookupError:
        return None
    dearer = MILLION / PROBE
    return Price(input=float(found.input_price) * dearer, output=float(found.output_price) * dearer)


class Priced(Protocol):
    """Settings of a model behind an endpoint: its name and its price."""

    model: str
    price: Price | None


def refuse_unpriced(ceilings: BudgetSection, models: Iterable[Priced]) -> None:
    """Raise a `UserError` if there is a limit in dollars and the price of a model is unknown.

    The cost of such a model could not be counted.
    """
    if ceilings.max_usd is None:
        return
    for one in models:
        if find_price(one.model, one.price) is None:
            raise UserError(
                f"budget.max_usd: the price of {one.model} is not known, so nothing would be counted; give "
                "`price` beside its `model` (0 where it is free), or set max_requests or max_tokens instead."
            )
