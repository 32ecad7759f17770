"""Settings of one model that answers requests: behind an API, or in this process."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from boresight.config.secrets import Address, KeyVariable
from boresight.config.section import Section
from boresight.llm.budget import Price
from boresight.llm.rate_limits import LimitSection
from boresight.llm.transports.inprocess import IN_PROCESS
from boresight.llm.transports.openai import TokenLimit


class EndpointSection(Section):
    """A model, and how it is reached."""

    model: str = "starter"
    """Name of the model at the endpoint; in this process `starter`, a folder or a hub id."""
    base_url: Address | None = None
    """An OpenAI-compatible endpoint, usually ending in /v1; null runs the model in this process."""
    key_env: KeyVariable = "OPENAI_API_KEY"
    """Environment variable that holds the key. Any non-empty value is accepted by servers that need no
    key."""
    structured: Literal["schema", "object", "prompt"] = "schema"
    """How the endpoint takes a JSON schema: as `response_format`, as JSON mode, or only described in the
    prompt."""
    token_limit: TokenLimit = "max_tokens"
    """Name of the parameter for the longest answer. If an endpoint refuses it, the other name is used."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds for one attempt; a model in this process has no such limit."""
    batch: bool = False
    """Use the endpoint's batch API: half the price, up to a day."""
    price: Price | None = None
    """Dollars per million tokens; null looks it up in genai-prices where that is installed."""
    limits: LimitSection = LimitSection()
    """Requests and tokens per minute, and concurrency."""

    @property
    def url(self) -> str:
        """Base URL that identifies the endpoint in requests and in the ledger; `in-process` without an
        endpoint."""
        return self.base_url or IN_PROCESS
