"""What is asked of a model and what comes back, in the shape of OpenAI chat completions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from boresight.core.schema import Message

RETRIED = frozenset({"rate_limit", "timeout", "server", "invalid_json", "token_limit"})
"""Failures of one attempt that another attempt may not have."""

BYTES_PER_TOKEN = 3.0
"""English text has about four bytes a token; three errs on the side that a budget needs."""
TOKENS_PER_MESSAGE = 8
"""Role, separators and the priming of the answer."""


LONGEST_DETAIL = 300


def one_line(text: str) -> str:
    """What a server said, fit for a terminal: one line, no control characters, not too long.

    >>> one_line("bad \\x1b[31m gateway")
    'bad [31m gateway'
    """
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= LONGEST_DETAIL else f"{flat[:LONGEST_DETAIL]}…"


class RequestFailure(Exception):
    """One attempt that brought no response.

    `kind` is `rate_limit`, `timeout`, `refusal`, `truncated`, `invalid_json`, `content_filter`, `server`,
    `auth`, `token_limit` (the endpoint wants the limit by its other name), `bad_request` (a 4xx that no
    repetition helps), `budget` (never sent) or `missing` (not in the ledger, where only the ledger is read).
    `retry_after` is what the server asked for, in seconds. `perhaps_billed` says that the server may
    have done the work although we never saw it.
    """

    def __init__(
        self, kind: str, detail: str, retry_after: float | None = None, perhaps_billed: bool = False
    ) -> None:
        super().__init__(kind)
        self.kind, self.detail = kind, one_line(detail)
        self.retry_after, self.perhaps_billed = retry_after, perhaps_billed


@dataclass(frozen=True)
class Request:
    """One completion to be had.

    `endpoint` is the base URL, or `in-process`. `params` are sampling parameters under their OpenAI
    names. `schema` is a JSON schema that the answer must follow. `sample` tells apart several answers to
    one prompt. `stage` says what the answer is for and determines nothing about it.
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
        """Everything that determines the response, as canonical JSON."""
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
        """sha256 of `identity`, hex."""
        return hashlib.sha256(self.identity.encode()).hexdigest()

    @property
    def max_tokens(self) -> int:
        """Longest answer, in tokens."""
        return int(self.params["max_tokens"])

    @cached_property
    def prompt_tokens(self) -> int:
        """Tokens of the messages, estimated from their bytes and on the high side."""
        size = sum(len(m["content"].encode()) for m in self.messages)
        if self.schema is not None:
            size += len(json.dumps(self.schema))
        return int(size / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * (len(self.messages) + 1)

    def followed_by(self, answer: str, objection: str) -> Request:
        """The same conversation, gone on: the model's answer, and what was wrong with it."""
        turns: list[Message] = [
            {"role": "assistant", "content": answer},
            {"role": "user", "content": objection},
        ]
        return replace(self, messages=[*self.messages, *turns])


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the server says it counted."""

    prompt: int
    completion: int
    cached: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Reply:
    """A response as it is read now. The stored body is the server's own, so a better reader replays it.

    `text` is what the model said, also where `failure` says that it cannot be used (a truncated answer).
    """

    text: str
    failure: str | None = None
    detail: str = ""
    usage: Usage | None = None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Reply:
        """Classify a chat completion.

        Raises:
            Failure: the body is no chat completion at all (`invalid_json`).
        """
        try:
            choice = body["choices"][0]
            message = choice["message"]
            text, finish = message.get("content") or "", choice.get("finish_reason")
            usage = _usage(body.get("usage"))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise RequestFailure("invalid_json", f"not a chat completion ({error!r})", None, True) from None
        if not isinstance(text, str):
            raise RequestFailure("invalid_json", "the content of the message is no text", None, True)
        failure, detail = _verdict(text, finish, message.get("refusal"))
        return cls(text, failure, detail, usage)


def _verdict(text: str, finish: str | None, refusal: str | None) -> tuple[str | None, str]:
    if refusal:
        return "refusal", one_line(str(refusal))
    if finish == "content_filter":
        return "content_filter", "the server's filter held the answer back"
    if finish == "length":
        return "truncated", "the answer reached max_tokens"
    return None, ""


def _usage(raw: Mapping[str, Any] | None) -> Usage | None:
    if not raw:
        return None
    cached = (raw.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(int(raw["prompt_tokens"]), int(raw["completion_tokens"]), int(cached))


def failed(kind: str, detail: str) -> Reply:
    """A reply that never came."""
    return Reply("", kind, detail)
