"""Request answers that must be JSON of a given shape: extract, validate, and retry with the error.

A server that supports JSON schemas rarely needs a second request; otherwise the error is sent as a message.
Every round is a request of its own in the ledger, so a later version can parse all of them anew.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from boresight.llm.replies.failures import one_line
from boresight.llm.replies.json_text import extract_json
from boresight.llm.replies.reply import Reply
from boresight.llm.request import Request

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

ROUNDS = 3
"""Maximum number of requests for one answer, including the first."""
OBJECTION = (
    "That is not what was asked for: {error}. Answer again with nothing but one JSON object that follows "
    "this schema: {schema}"
)


class Asker(Protocol):
    """Common interface of `Client` and `Ledger`."""

    async def ask(self, request: Request) -> Reply:
        """Return the reply to one request."""
        ...


@dataclass(frozen=True, slots=True)
class Parsed(Generic[M]):
    """A validated answer, or the reason why there is none.

    `rounds` is the number of requests that were made, and `text` the text that did not validate.
    """

    value: M | None
    rounds: int
    failure: str | None = None
    detail: str = ""
    text: str = ""


async def ask_for(asker: Asker, request: Request, shape: type[M], rounds: int = ROUNDS) -> Parsed[M]:
    """Request an answer until it validates as `shape`, at most `rounds` times."""
    request = first_round(request, shape)
    error = text = ""
    for number in range(1, rounds + 1):
        reply = await asker.ask(request)
        if reply.failure:
            return Parsed(None, number, reply.failure, reply.detail)
        try:
            return Parsed(read_shape(reply.text, shape), number)
        except ValueError as problem:
            error, text = str(problem), reply.text
        objection = OBJECTION.format(error=error, schema=json.dumps(request.schema))
        request = request.followed_by(reply.text, objection)
    return Parsed(None, rounds, "invalid_json", error, text)


def recalled(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits.

    An example is `ask_for(ledger, …)`, which only reads the ledger.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("a coroutine that asks the ledger alone has nothing to wait for")


def first_round(request: Request, shape: type[BaseModel]) -> Request:
    """Return the first request of `ask_for`, as it is in the ledger: with the JSON schema of `shape`."""
    return replace(request, schema=strict_schema(shape))


def read_shape(text: str, shape: type[M]) -> M:
    """Return the last JSON object in a model's text that validates as `shape`; earlier ones may be drafts.

    Raises:
        ValueError: there is none; the message is written for the model.
    """
    for value in reversed(found := extract_json(text)):
        try:
            return shape.model_validate(value)
        except ValidationError:
            pass
    try:
        return shape.model_validate(found[-1])
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        raise ValueError(one_line(f"{where}: {first['msg']}")) from None


def strict_schema(shape: type[BaseModel]) -> Mapping[str, Any]:
    """Return the JSON schema in the form that strict servers require: closed objects, all fields required."""
    return _closed(shape.model_json_schema())


def _closed(node: Any) -> Any:
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {name: _closed(value) for name, value in node.items() if name not in ("title", "default")}
    if closed.get("type") == "object":
        closed |= {"additionalProperties": False, "required": list(closed.get("properties", {}))}
    return closed
