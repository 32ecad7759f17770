"""Send the requests of judges to models behind an API: a batch of requests, and one reply for each.

The client, with its rate limits, retries, budget and ledger, is that of `boresight.llm`. The key of a request
in the ledger covers the rendered judge prompt, both answers and every setting, so no outdated reply is reused
and no request is sent twice. Replies are stored as text, so that a better parser needs no new requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydantic import Field

from boresight.config.secrets import Address, KeyVariable
from boresight.llm.budget import Budget, BudgetSection, Price, find_price
from boresight.llm.client import Client, Endpoint
from boresight.llm.event_loop import EventLoop
from boresight.llm.ledger import Ledger
from boresight.llm.progress import watching
from boresight.llm.rate_limits import LimitSection
from boresight.llm.replies.reply import Reply
from boresight.llm.replies.usable import Reader, UsableReplies, usual_reader
from boresight.llm.request import Request
from boresight.llm.transports.openai import OpenAITransport, TokenLimit
from boresight.scorers.judges.base import JudgeConfig

if TYPE_CHECKING:
    from rich.console import Console

STAGE = "judge"


class EndpointConfig(JudgeConfig):
    """A model behind an OpenAI-compatible API."""

    needs_ledger: ClassVar[bool] = True
    endpoint: Address
    """Base URL, usually ending in /v1."""
    model: str
    """Name of the model there."""
    key_env: KeyVariable = "OPENAI_API_KEY"
    """Environment variable that holds the key."""
    token_limit: TokenLimit = "max_tokens"
    """Name of the parameter for the longest reply. If an endpoint refuses it, the other name is used."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds for one attempt."""
    limits: LimitSection = LimitSection()
    """Rate limits of requests."""
    price: Price | None = None
    """Dollars per million tokens; null looks it up where that is possible."""
    budget: BudgetSection = BudgetSection()
    """Spending limits over all evaluations that share the ledger."""


class Completer(Protocol):
    """Interface of objects that answer requests."""

    def complete(self, requests: Sequence[Request], read: Reader = usual_reader) -> list[Reply]:
        """Return one reply per request, in the same order.

        Args:
            requests: the requests.
            read: function that returns the reason why a reply cannot be used, or None. If none of the first
                replies can be used, the other requests are not sent.
        """
        ...


@dataclass(frozen=True)
class Kept:
    """Completer without an endpoint: holds the ledger of a judge that computes its scores in this process."""

    ledger: Ledger


class LedgerCompleter:
    """Sends requests to an endpoint and stores every reply in a ledger."""

    def __init__(self, config: EndpointConfig, ledger: Ledger, console: Console | None = None) -> None:
        self.config, self.ledger, self.console = config, ledger, console
        self._told: set[str] = set()
        self._usable = UsableReplies()

    def complete(self, requests: Sequence[Request], read: Reader = usual_reader) -> list[Reply]:
        """Return one reply per request, as `Completer.complete` does.

        Replies in the ledger are reused. Requests that failed are sent again by the next run.

        Raises:
            UserError: the endpoint refuses access, does not answer, or its replies cannot be used.
        """
        with EventLoop() as loop:
            return loop.run(self._complete(requests, read))

    async def _complete(self, requests: Sequence[Request], read: Reader) -> list[Reply]:
        if all(request.key in self.ledger for request in requests):
            return [await self.ledger.ask(request) for request in requests]  # needs no key and no network
        replies: dict[str, Reply] = {}
        budget = Budget.continued(self.config.budget, self.ledger.spent())
        async with Client(self.ledger, [self._endpoint()], budget) as client:
            client.progress.told = self._told  # the first failure of a kind is printed once over all calls
            client.usable = self._usable
            with watching(client, "judging", len(requests), self.console) as step:

                async def ask(request: Request) -> None:
                    replies[request.key] = await client.ask_usable(request, read)
                    step()

                await client.each(requests, ask)
        return [replies[request.key] for request in requests]

    def _endpoint(self) -> Endpoint:
        config = self.config
        return Endpoint(
            model=config.model,
            transport=OpenAITransport(
                config.endpoint, config.key_env, config.timeout, token_limit=config.token_limit
            ),
            limits=config.limits,
            price=find_price(config.model, config.price),
            timeout=config.timeout,
        )


def why(reply: Reply) -> str:
    """Return the failure of a reply as text; "" if it has none."""
    return f"{reply.failure}: {reply.detail}".removesuffix(": ") if reply.failure else ""
