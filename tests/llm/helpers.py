"""Requests and clients for tests against `FakeServer`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from boresight.llm.budget import Budget, BudgetSection, Price
from boresight.llm.client import Client, Endpoint
from boresight.llm.endpoint import EndpointSection
from boresight.llm.ledger import Ledger
from boresight.llm.rate_limits import LimitSection
from boresight.llm.replies.reply import Reply
from boresight.llm.request import Request
from boresight.llm.transports.openai import OpenAITransport, TokenLimit, request_body

KEY_ENV, KEY = "BORESIGHT_TEST_KEY", "sk-planted-0123456789abcdef"
MODEL = "m"


def requests(url: str, count: int, **changes: Any) -> list[Request]:
    """Requests that differ in their prompt."""
    return [
        Request(
            url,
            MODEL,
            [{"role": "user", "content": f"Say something about the number {i}."}],
            {"max_tokens": 32, "temperature": 0.7},
            stage="answers",
            **changes,
        )
        for i in range(count)
    ]


def section(url: str, **changes: Any) -> EndpointSection:
    """The endpoint of a fake server, as a recipe has it."""
    return EndpointSection(model=MODEL, base_url=url, key_env=KEY_ENV, **changes)


def digest_of(request: Request) -> str:
    """The server's name for a request."""
    body = request_body(request, "schema")
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def digest_of_stored(identity: dict[str, Any]) -> str:
    """The server's name for a request as the ledger has it."""
    return digest_of(Request(**identity))


def stored(ledger: Path) -> dict[str, Any]:
    """Requests by key, of every response that a ledger's file holds."""
    with closing(sqlite3.connect(ledger)) as file:
        return {key: json.loads(text) for key, text in file.execute("SELECT key, request FROM responses")}


def run(
    url: str,
    ledger: Path,
    asked: Sequence[Request],
    *,
    ceilings: BudgetSection | None = None,
    price: Price | None = None,
    limits: LimitSection | None = None,
    timeout: float = 10.0,
    token_limit: TokenLimit = "max_tokens",
    **settings: Any,
) -> tuple[list[Reply], Client]:
    """Ask everything, then read the replies from the ledger in order."""
    settings = {"first_pause": 0.005, **settings}

    async def all_of_it() -> tuple[list[Reply], Client]:
        with Ledger(ledger) as book:
            endpoint = Endpoint(
                MODEL,
                OpenAITransport(url, KEY_ENV, timeout, token_limit=token_limit),
                limits or LimitSection(),
                price,
                timeout,
            )
            budget = Budget.continued(ceilings or BudgetSection(), book.spent())
            async with Client(book, [endpoint], budget, **settings) as client:
                await client.each(asked, client.ask)
            return [await book.ask(request) for request in asked], client

    return asyncio.run(all_of_it())
