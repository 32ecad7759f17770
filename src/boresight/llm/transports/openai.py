"""How a request reaches a model: an OpenAI-compatible endpoint over HTTP.

A transport has a `base_url` and one coroutine, `send(request) -> body`, which raises `Failure`. Retries,
limits and accounts are the client's, so the SDK's own retries are off, and its HTTP client is its own.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Any, Literal, Protocol

from boresight.core.errors import UserError
from boresight.llm.request import Request, RequestFailure

REDACTED = "[key removed]"
TokenLimit = Literal["max_tokens", "max_completion_tokens"]
"""What an endpoint calls the longest answer: OpenAI's reasoning models take the second name alone."""
OTHER_NAME: TokenLimit = "max_completion_tokens"
UNHEARD = frozenset({"ConnectError", "ConnectTimeout"})
"""Exceptions of the SDK's HTTP client (httpx or httpx2) when no connection was made: nobody can bill that."""
OPENAI_PARAMS = frozenset(
    {
        "temperature",
        "top_p",
        "max_tokens",
        OTHER_NAME,
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
    }
)
"""Sampling parameters that the SDK knows by name; others (`top_k`, `min_p`) travel in the extra body."""


class Transport(Protocol):
    """What the client asks through."""

    base_url: str

    async def send(self, request: Request) -> dict[str, Any]:
        """The server's body. Raises `Failure`."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class OpenAITransport:
    """Chat completions through the `openai` package.

    Args:
        base_url: for instance `https://api.openai.com/v1` or a vLLM server's `http://127.0.0.1:8000/v1`.
        key_env: name of the environment variable that holds the key; the key itself stays in here.
        timeout: seconds for one attempt.
        structured: how the server takes a JSON schema: `schema` (response_format json_schema),
            `object` (JSON mode), or `prompt` (it is only told in words).
        token_limit: under which name it takes the longest answer; one that asks for the other gets it from
            then on.

    Raises:
        UserError: the package is not installed, or the variable is not set.
    """

    def __init__(
        self,
        base_url: str,
        key_env: str = "OPENAI_API_KEY",
        timeout: float = 120.0,
        structured: Literal["schema", "object", "prompt"] = "schema",
        token_limit: TokenLimit = "max_tokens",
    ) -> None:
        openai = import_openai()
        self.token_limit = token_limit
        self.base_url, self.key_env, self.timeout, self.structured = base_url, key_env, timeout, structured
        self._key = read_key(key_env)
        self._openai = openai
        self._client = openai.AsyncOpenAI(
            api_key=self._key, base_url=base_url, max_retries=0, timeout=timeout
        )

    async def send(self, request: Request) -> dict[str, Any]:
        """See `Transport.send`."""
        create = self._client.chat.completions.with_raw_response.create
        try:
            response = await create(**sdk_arguments(request, self.structured, self.token_limit))
        except self._openai.APIError as error:
            raise self._failure(error) from None
        return parse_body(self._clean(response.content.decode("utf-8", "replace")))

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._client.close()

    def _clean(self, text: str) -> str:
        """Some servers quote the key that they refuse."""
        return text.replace(self._key, REDACTED)

    def _failure(self, error: Exception) -> RequestFailure:
        failure = self._noted(classify(self._openai, error))
        failure.detail = self._clean(failure.detail)
        if failure.kind == "auth":
            failure.detail = f"${self.key_env}: {failure.detail}"
        return failure

    def _noted(self, failure: RequestFailure) -> RequestFailure:
        """Remember what an endpoint asked for; the client sends the request again."""
        if failure.kind == "token_limit":
            self.token_limit = OTHER_NAME
        return failure


def import_openai() -> ModuleType:
    """The `openai` package, imported when it is first needed: it takes most of a second."""
    try:
        import openai
    except ImportError:
        raise UserError(
            "endpoint: talking to an API needs the package openai; run `pip install 'boresight[api]'`."
        ) from None
    return openai


def read_key(variable: str) -> str:
    """A key from the environment. Raises `UserError` when it is not there."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(
            f"endpoint.key_env: ${variable} is not set; export the endpoint's key under that name."
        )
    return key


def sdk_arguments(request: Request, structured: str, token_limit: TokenLimit) -> dict[str, Any]:
    """Arguments of the SDK's `create` for a request."""
    body = request_body(request, structured, token_limit)
    extra = {name: body.pop(name) for name in request.params if name in body and name not in OPENAI_PARAMS}
    return {**body, "extra_body": extra} if extra else body


def request_body(request: Request, structured: str, token_limit: TokenLimit = "max_tokens") -> dict[str, Any]:
    """The JSON body of a request, as `/chat/completions` takes it."""
    body: dict[str, Any] = {"model": request.model, "messages": list(request.messages), **request.params}
    if "max_tokens" in body:
        body[token_limit] = body.pop("max_tokens")
    if "seed" in body:
        body["seed"] += request.sample  # or every sample of a prompt would be the same
    if request.schema is not None and structured == "schema":
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": dict(request.schema)},
        }
    elif request.schema is not None and structured == "object":
        body["response_format"] = {"type": "json_object"}
    return body


def parse_body(text: str) -> dict[str, Any]:
    """The body as JSON. A 200 with garbage in it may well be on the bill."""
    try:
        body = json.loads(text)
    except ValueError:
        raise RequestFailure("invalid_json", f"the body is no JSON: {text[:80]!r}", None, True) from None
    if not isinstance(body, dict):
        raise RequestFailure("invalid_json", "the body is no JSON object", None, True)
    return body


def classify(openai: ModuleType, error: Exception) -> RequestFailure:
    """One of the SDK's exceptions as a typed failure."""
    unheard = type(error.__cause__).__name__ in UNHEARD
    if isinstance(error, openai.APITimeoutError):
        return RequestFailure("timeout", "no answer in time", perhaps_billed=not unheard)
    if isinstance(error, openai.APIStatusError):
        return classify_status(error.status_code, error.response.headers, error.body, error.message)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        what = "no connection" if unheard else "connection lost"
        return RequestFailure("server", f"{what} ({cause or error})", perhaps_billed=not unheard)
    return RequestFailure("invalid_json", str(error), perhaps_billed=True)


def classify_status(status: int, headers: Mapping[str, str], body: object, message: str) -> RequestFailure:
    """An HTTP status that is no success, as a typed failure."""
    code = str(body.get("code") or "") if isinstance(body, dict) else ""
    detail = f"HTTP {status}: {message.removeprefix(f'Error code: {status} - ')}"
    if status in (401, 403) or code == "insufficient_quota":
        return RequestFailure("auth", detail)
    if status == 429:
        return RequestFailure("rate_limit", detail, retry_after(headers))
    if status in (408, 409) or status >= 500:
        return RequestFailure("server", detail, retry_after(headers))
    if code == "content_filter":
        return RequestFailure("content_filter", detail)
    if status == 400 and OTHER_NAME in message and re.search(r"\bmax_tokens\b", message):
        return RequestFailure("token_limit", f"it takes {OTHER_NAME}, and gets that from now on; {detail}")
    return RequestFailure("bad_request", detail)


def retry_after(
    headers: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `retry-after` as seconds or a date."""
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds:
            return max(0.0, float(milliseconds) / 1000)
        if not value:
            return None
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value or "") - now()).total_seconds())
    except (ValueError, TypeError):
        return None
