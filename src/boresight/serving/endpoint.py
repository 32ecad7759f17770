"""Serve a run's model through a small part of OpenAI's API: `/v1/models` and `/v1/chat/completions`.

The server is for trying a model: it computes one answer at a time, with the package's own sampler. A request
for anything that is not supported, such as streaming or tools, is an error.
"""

from __future__ import annotations

import secrets
import time
import uuid
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from boresight.core.errors import UserError
from boresight.core.schema import Message
from boresight.core.strict_model import StrictModel
from boresight.serving.loopback import LoopbackHandler, LoopbackServer, Refused

if TYPE_CHECKING:
    from boresight.data.tokenizer import Tokenizer
    from boresight.models.policy import Policy

LONGEST_CONVERSATION = 1_000_000
"""Maximum size of a request body, in bytes."""


NOT_SERVED = {
    "stream": "streaming is not supported; leave it out or set it to false.",
    "n": "a request gets one answer; leave it out or set it to 1.",
}
"""Error messages, by field, for fields that accept only one value; they replace pydantic's."""
WRONG = {"extra_forbidden": "this field is not supported; leave it out.", "missing": "this field is missing."}
"""Error messages, by pydantic's type of error; they replace pydantic's."""


class Fields(StrictModel):
    """Base class of objects in a request. As in OpenAI's API, null is the same as a missing field."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None}


class ChatTurn(Fields):
    """One message of a request."""

    role: Literal["system", "user", "assistant"]
    content: str

    @field_validator("content")
    @classmethod
    def _is_text(cls, content: str) -> str:
        try:
            content.encode()
        except UnicodeEncodeError:
            raise ValueError("half a surrogate pair is no text") from None
        return content


class ChatRequest(Fields):
    """The supported fields of a chat completion request.

    Defaults are OpenAI's, except that of `max_tokens`. Without a seed, every answer uses a new random seed.
    """

    messages: list[ChatTurn] = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = Field(None, ge=0)
    n: Literal[1] = 1
    stream: Literal[False] = False
    user: str | None = None


class ChatServer(LoopbackServer):
    """HTTP server for one model, which requests refer to by `name`."""

    def __init__(
        self, model: Policy, tokenizer: Tokenizer, name: str, port: int = 0, max_new_tokens: int = 256
    ) -> None:
        super().__init__(ChatHandler, port)
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.max_new_tokens = max_new_tokens
        self.lock = Lock()

    def models(self) -> dict[str, Any]:
        """Return the response to `/v1/models`."""
        return {"object": "list", "data": [{"id": self.name, "object": "model", "owned_by": "boresight"}]}

    def complete(self, request: ChatRequest) -> dict[str, Any]:
        """Return the response to a chat completion request.

        Raises:
            Refused: the request names another model, or the model cannot answer it.
        """
        from boresight.data.chat import encode_prompt
        from boresight.models.sampler.generate import decode, stopping_at_turns
        from boresight.models.sampler.params import SamplingParams
        from boresight.models.sampler.sample import sample

        if request.model not in (None, self.name):
            raise Refused(HTTPStatus.NOT_FOUND, f"The model here is called {self.name!r}.")
        turns: list[Message] = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        params = SamplingParams(
            max_new_tokens=request.max_completion_tokens or request.max_tokens or self.max_new_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=secrets.randbelow(2**32) if request.seed is None else request.seed,
        )
        try:
            with self.lock:
                prompt = encode_prompt(self.tokenizer, turns)
                found = sample(self.model, [prompt], stopping_at_turns(self.model, params))
        except UserError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
        ((answer,),) = decode(self.tokenizer, found)
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.name,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": answer.text},
                    "finish_reason": answer.finish,
                }
            ],
            "usage": {
                "prompt_tokens": len(prompt),
                "completion_tokens": len(answer.ids),
                "total_tokens": len(prompt) + len(answer.ids),
            },
        }


class ChatHandler(LoopbackHandler):
    """Handles the requests of one connection, in OpenAI's format."""

    server: ChatServer
    longest_body = LONGEST_CONVERSATION
    wrong_token = "The API key is missing or wrong; send the printed one as Authorization: Bearer KEY."

    def do_GET(self) -> None:
        """Send the list of models."""
        self.serve(self._list)

    def do_POST(self) -> None:
        """Send a chat completion."""
        self.serve(self._complete)

    def describe(self, refused: Refused) -> object:
        """Return OpenAI's error object."""
        return {"message": str(refused), "type": "invalid_request_error", "param": None, "code": None}

    def _list(self) -> None:
        self._admit("/v1/models")
        self.send_json(self.server.models())

    def _complete(self) -> None:
        self._admit("/v1/chat/completions")
        try:
            request = ChatRequest.model_validate(self.read_body())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "body"
            said = first["msg"].removeprefix("Value error, ")
            what = NOT_SERVED.get(where) or WRONG.get(first["type"]) or f"{said}."
            raise Refused(HTTPStatus.BAD_REQUEST, f"{where}: {what}") from None
        self.send_json(self.server.complete(request))

    def _admit(self, path: str) -> None:
        """Raise `Refused` for a wrong token or another path.

        The token is checked first, so that a client without it learns nothing about the paths.
        """
        self.check_token(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.path != path:
            raise Refused(HTTPStatus.NOT_FOUND, "There are /v1/models and /v1/chat/completions here.")
