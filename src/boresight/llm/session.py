"""Provide a synchronous interface to a run's ledger, endpoints and budget.

with Session(folder / "ledger.sqlite", endpoints, ceilings) as session:
    replies = session.complete(requests)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from boresight.llm.budget import Budget, BudgetSection, find_price, refuse_unpriced
from boresight.llm.client import STUCK_AFTER, Client, Endpoint
from boresight.llm.endpoint import EndpointSection
from boresight.llm.event_loop import EventLoop
from boresight.llm.ledger import Ledger
from boresight.llm.progress import watching
from boresight.llm.rate_limits import LimitSection
from boresight.llm.replies.reply import Reply
from boresight.llm.replies.usable import Reader, usual_reader
from boresight.llm.request import Request
from boresight.llm.transports.batch import MOST_REQUESTS, BatchTransport
from boresight.llm.transports.inprocess import InProcessTransport
from boresight.llm.transports.openai import OpenAITransport, import_openai, read_key

T = TypeVar("T")

A_YEAR = 365 * 86400.0
"""Timeout of a model in this process and of a batch, in seconds; in effect there is none."""


class Session:
    """Synchronous client of a run; use it inside `with`. It also is a `Completer` for judges.

    Raises:
        UserError: the ledger is in use, or for the reasons of `refuse_unready`.
    """

    def __init__(
        self,
        ledger: Path,
        endpoints: Iterable[EndpointSection],
        ceilings: BudgetSection | None = None,
        *,
        stuck_after: float = STUCK_AFTER,
        console: Console | None = None,
    ) -> None:
        self.console = console
        sections, ceilings = list(endpoints), ceilings or BudgetSection()
        refuse_unready(sections, ceilings)
        self.ledger = Ledger(ledger)
        self.budget = Budget.continued(ceilings, self.ledger.spent())
        self.endpoints = [open_endpoint(section, self.ledger) for section in sections]
        self.unpriced = sorted(
            e.model for e, of in zip(self.endpoints, sections, strict=True) if of.base_url and e.price is None
        )
        self.client = Client(self.ledger, self.endpoints, self.budget, stuck_after=stuck_after)
        for transport in (endpoint.transport for endpoint in self.endpoints):
            if isinstance(transport, BatchTransport):
                transport.on_failure = self.client.note_failure
        self._loop = EventLoop()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self.client.close())
        self._loop.close()
        self.ledger.close()

    def each(
        self, what: str, items: Iterable[T], do: Callable[[T], Awaitable[object]], total: int | None = None
    ) -> None:
        """Run `do` on every item, with a progress display labeled `what`; see `Client.each`."""
        with watching(self.client, what, total, self.console) as step:

            async def counted(item: T) -> None:
                await do(item)
                step()

            self._loop.run(self.client.each(items, counted))

    def complete(self, requests: Sequence[Request], read: Reader = usual_reader) -> list[Reply]:
        """Return one reply per request, in their order: from the ledger, or sent now.

        Args:
            read: returns the reason why a reply cannot be used, None if it can; see `UsableReplies`.
        """

        async def ask(request: Request) -> None:
            await self.client.ask_usable(request, read)

        self.each(requests[0].stage if requests else "", requests, ask, len(requests))
        return [self.ledger.reply(request) for request in requests]


def refuse_unready(sections: Iterable[EndpointSection], ceilings: BudgetSection) -> None:
    """Raise a `UserError` if requests cannot be sent; call it before anything is written.

    The reasons are a key that is not set, the package `openai` not being installed, and an unknown price with
    a limit in dollars.
    """
    served = [section for section in sections if section.base_url is not None]
    for section in served:
        import_openai()
        read_key(section.key_env)
    refuse_unpriced(ceilings, served)


def open_endpoint(section: EndpointSection, ledger: Ledger) -> Endpoint:
    """Create the endpoint that a recipe section describes."""
    if section.base_url is None:
        # This model refuses nothing, and less concurrency would only be slower.
        most = section.limits.max_concurrency
        full = LimitSection(max_concurrency=most, adapt=False)
        return Endpoint(section.model, InProcessTransport(section.model, most), full, None, A_YEAR, True)
    price = find_price(section.model, section.price)
    if section.batch:
        full = LimitSection(max_concurrency=MOST_REQUESTS, adapt=False)
        batched = BatchTransport(
            section.base_url,
            ledger,
            section.key_env,
            structured=section.structured,
            token_limit=section.token_limit,
        )
        return Endpoint(section.model, batched, full, price.halved() if price else None, A_YEAR, True)
    direct = OpenAITransport(
        section.base_url, section.key_env, section.timeout, section.structured, section.token_limit
    )
    return Endpoint(section.model, direct, section.limits, price, section.timeout)
