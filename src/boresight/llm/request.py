"""Represent a request to a model, in the form of OpenAI chat completions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from boresight.core.schema import Message

BYTES_PER_TOKEN = 3.0
"""Number of bytes per token for an upper estimate; English text has about four."""
TOKENS_PER_MESSAGE = 8
"""Number of tokens per message for the role, separators and the beginning of the answer."""


@dataclass(frozen=True)
class Request:
    """A request for one completion.

    `endpoint` is the base URL, or `in-process`. `params` are sampling parameters under their OpenAI names.
    `schema` is a JSON schema that the answer must follow. `sample` distinguishes several answers to one
    prompt. `stage` labels the purpose; it does not affect the response.
    """

    endpoint: str
    model: str
    messages: Sequence[Message]
    params: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None
    sample: int = 0
    stage: str = ""

    @cached_property
    def identity(self) -> str:
        """Canonical JSON of everything that determines the response."""
        parts = {
            "endpoint": self.endpoint,
            "model": self.model,
            "messages": list(self.messages),
            "params": dict(self.params),
            "schema": self.schema,
            "sample": self.sample,
        }
        return json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def key(self) -> str:
        """SHA-256 of `identity`, hexadecimal."""
        return hashlib.sha256(self.identity.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def is_text(self) -> bool:
        """Whether the request can be encoded as UTF-8 and sent; text with half a surrogate pair cannot."""
        try:
            self.identity.encode()
        except UnicodeEncodeError:
            return False
        return True

    @property
    def max_tokens(self) -> int:
        """Maximum answer length, in tokens."""
        return int(self.params["max_tokens"])

    @cached_property
    def prompt_tokens(self) -> int:
        """Upper estimate of the number of tokens of the messages, from their number of bytes."""
        return int(self.prompt_bytes / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * (len(self.messages) + 1)

    @cached_property
    def prompt_bytes(self) -> int:
        """Number of UTF-8 bytes of the messages and the schema."""
        size = sum(len(m["content"].encode("utf-8", "surrogatepass")) for m in self.messages)
        return size + (0 if self.schema is None else len(json.dumps(self.schema)))

    def followed_by(self, answer: str, objection: str) -> Request:
        """Return the request with two more messages: the model's answer, and the objection to it."""
        turns: list[Message] = [
            {"role": "assistant", "content": answer},
            {"role": "user", "content": objection},
        ]
        return replace(self, messages=[*self.messages, *turns])
