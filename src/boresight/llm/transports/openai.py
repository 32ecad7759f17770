"""Send requests to an OpenAI-compatible endpoint over HTTP.

A transport has a `base_url` and one coroutine, `send(request) -> body`, which raises `RequestFailure`.
Retries, limits and budgets are handled by the client, so the SDK's own retries are off. Its HTTP client does
not follow redirects, which would send the key to another address, and limits the size of bodies. The key is
removed from error messages of servers, but not from responses, which are stored unchanged.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any, Literal, Protocol

from boresight.core.errors import UserError
from boresight.llm.replies.failures import OTHER_LIMIT_NAME, RequestFailure, classify_status, unreadable
from boresight.llm.replies.json_text import parse_body
from boresight.llm.replies.reply import Reply
from boresight.llm.request import Request
from boresight.llm.transports.http_body import ACCEPTED, MOST_BYTES, bounded
from boresight.llm.transports.reward_outputs import (
    as_completion,
    asks_for_outputs,
    outputs_body,
    outputs_url,
)

TokenLimit = Literal["max_tokens", "max_completion_tokens"]
"""Name of the parameter for the maximum answer length; OpenAI's reasoning models accept only the second
one."""
UNHEARD = frozenset({"ConnectError", "ConnectTimeout"})
"""Exceptions of the SDK's HTTP client (httpx or httpx2) after which no connection was made, so that nothing
was billed."""
OPENAI_PARAMS = frozenset(
    {
        "temperature",
        "top_p",
        "max_tokens",
        OTHER_LIMIT_NAME,
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
    }
)
"""Sampling parameters that are named arguments of the SDK; others (`top_k`, `min_p`) are sent in the extra
body."""


class Transport(Protocol):
    """Interface through which the client sends requests."""

    base_url: str

    async def send(self, request: Request) -> dict[str, Any]:
        """Send a request and return the server's body, which `Reply.read` can parse.

        Raises:
            RequestFailure: there is no such body.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


class OpenAITransport:
    """Transport for chat completions through the `openai` package.

    Args:
        base_url: for instance `https://api.openai.com/v1` or a vLLM server's `http://127.0.0.1:8000/v1`.
        key_env: name of the environment variable that holds the key; the key is not stored elsewhere.
        timeout: timeout of one attempt, in seconds.
        structured: how the server receives a JSON schema: `schema` (response_format json_schema), `object`
            (JSON mode), or `prompt` (only the prompt describes it).
        token_limit: name of the parameter for the maximum answer length; if the server requires the other
            name, that is used from then on.
        most_bytes: maximum size of a body, in bytes.

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
        most_bytes: int = MOST_BYTES,
    ) -> None:
        openai = import_openai()
        self.token_limit = token_limit
        self.base_url, self.key_env, self.timeout, self.structured = base_url, key_env, timeout, structured
        self._key = read_key(key_env)
        self._openai = openai
        # The SDK's HTTP client is httpx's or httpx2's.
        library = openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]
        self._http = importlib.import_module(library)
        http = openai.DefaultAsyncHttpxClient(
            follow_redirects=False, timeout=timeout, event_hooks={"response": [bounded(most_bytes)]}
        )
        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=base_url,
            max_retries=0,
            timeout=timeout,
            http_client=http,
            default_headers={"Accept-Encoding": ACCEPTED},
        )

    async def send(self, request: Request) -> dict[str, Any]:
        """Send a request over HTTP, and return the body of the response (see `Transport.send`)."""
        try:
            if asks_for_outputs(request):
                return as_completion(parse_body(await self._outputs(request)))
            create = self._client.chat.completions.with_raw_response.create
            response = await create(**sdk_arguments(request, self.structured, self.token_limit))
            return completion_in(parse_body(response.content))
        except self._openai.APIError as error:
            raise self._failure(classify(self._openai, error)) from None
        except RequestFailure as failure:
            raise self._failure(failure) from None

    async def close(self) -> None:
        """Close connections."""
        await self._client.close()

    async def _outputs(self, request: Request) -> bytes:
        """Return the body of a reward model's reply, from a path for which the SDK has no function."""
        url, raw = outputs_url(self.base_url, request), self._http.Response
        response = await self._client.post(url, cast_to=raw, body=outputs_body(request))
        return bytes(response.content)

    def _failure(self, failure: RequestFailure) -> RequestFailure:
        """Remove the key from a failure, and return it.

        After a `token_limit` failure, all later requests use the other name of the parameter.
        """
        if failure.kind == "token_limit":
            self.token_limit = OTHER_LIMIT_NAME
        if failure.kind == "auth":
            failure.said = f"${self.key_env}: {failure.said}"
        return failure.without(self._key)


def import_openai() -> ModuleType:
    """Import the `openai` package on first use, since that takes most of a second.

    Raises:
        UserError: the package is not installed.
    """
    try:
        import openai
    except ImportError:
        raise UserError(
            "endpoint: talking to an API needs the package openai; run `pip install 'boresight[api]'`."
        ) from None
    return openai


def read_key(variable: str) -> str:
    """Return the key in an environment variable.

    Raises:
        UserError: the variable is not set, or is empty.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(
            f"endpoint.key_env: ${variable} is not set; export the endpoint's key under that name."
        )
    return key


def sdk_arguments(request: Request, structured: str, token_limit: TokenLimit) -> dict[str, Any]:
    """Return the arguments of the SDK's `create` for a request."""
    body = request_body(request, structured, token_limit)
    extra = {name: body.pop(name) for name in request.params if name in body and name not in OPENAI_PARAMS}
    return {**body, "extra_body": extra} if extra else body


def request_body(request: Request, structured: str, token_limit: TokenLimit = "max_tokens") -> dict[str, Any]:
    """Return the JSON body of a request to `/chat/completions`."""
    body: dict[str, Any] = {"model": request.model, "messages": list(request.messages), **request.params}
    if "max_tokens" in body:
        body[token_limit] = body.pop("max_tokens")
    if "seed" in body:
        body["seed"] += request.sample  # otherwise all samples of a prompt would be equal
    if request.schema is not None and structured == "schema":
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": dict(request.schema)},
        }
    elif request.schema is not None and structured == "object":
        body["response_format"] = {"type": "json_object"}
    return body


def completion_in(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body if it is a chat completion.

    Raises:
        RequestFailure: it is not.
    """
    Reply.read(body)
    return body


def classify(openai: ModuleType, error: Exception) -> RequestFailure:
    """Convert one of the SDK's exceptions into a typed failure."""
    if isinstance(error.__cause__, RequestFailure):  # raised by the hook that reads bodies
        return error.__cause__
    unheard = type(error.__cause__).__name__ in UNHEARD
    if isinstance(error, openai.APITimeoutError):
        return RequestFailure("timeout", "request timed out", perhaps_billed=not unheard)
    if isinstance(error, openai.APIStatusError):
        return classify_status(error.status_code, error.response.headers, error.body)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        what = "no connection" if unheard else "connection lost"
        return RequestFailure("server", f"{what} ({cause or error})", perhaps_billed=not unheard)
    return unreadable(str(error))
