"""Settings of one model that answers requests: behind an API, or in this process."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from boresight.config.refusals.without_effect import refusals_by
from boresight.config.secrets import Address, KeyVariable
from boresight.config.section import Section, non_default_settings
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

    def without_effect(self, field: str) -> dict[str, str]:
        """Return the settings of the section `field` that have no effect on a model in this process.

        The values of the dictionary are the sentences with which the settings are refused.
        """
        changed = {f"{field}.{name}": value for name, value in non_default_settings(self).items()}
        changed |= {
            f"{field}.limits.{name}": value for name, value in non_default_settings(self.limits).items()
        }
        acting = {f"{field}.{name}" for name in ("model", "limits", "limits.max_concurrency")}
        why = f"without {field}.base_url, since the model runs in this process"
        keys = [key for key in changed if key not in acting]
        return refusals_by([(keys, self.base_url is not None, why)], changed)

    @property
    def enforces_schemas(self) -> bool:
        """Whether the endpoint applies a request's JSON schema; if not, only the prompt can ask for JSON."""
        return self.structured == "schema" and self.base_url is not None

    @property
    def url(self) -> str:
        """Base URL that identifies the endpoint in requests and in the ledger; `in-process` without one."""
        return self.base_url or IN_PROCESS
