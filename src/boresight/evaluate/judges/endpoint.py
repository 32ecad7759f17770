"""How judges behind an API are reached: requests go out in one batch, a reply comes back for each.

The client, with its limits, retries, budget and ledger, is `boresight.data.synthesize`'s. A request's key in
the ledger holds the rendered judge prompt, both answers and every setting, so nothing stale is recalled and
nothing is asked twice. Replies are kept as they came and read afterwards: a better parser costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from boresight.data.synthesize.request import Reply, Request
from boresight.evaluate.judges.base import JudgeConfig

STAGE = "judge"


class EndpointConfig(JudgeConfig):
    """A model behind an OpenAI-compatible API."""

    endpoint: str
    """Base URL, usually ending in /v1."""
    model: str
    """Name of the model there."""


class Completer(Protocol):
    """Answers requests, each in its place."""

    def complete(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in the order asked."""
        ...


def why(reply: Reply) -> str:
    """The failure of a reply in words, '' when it has none."""
    return reply.failure and f"{reply.failure}: {reply.detail}".removesuffix(": ") or ""
