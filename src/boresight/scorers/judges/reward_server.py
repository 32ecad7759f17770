"""Reward model behind vLLM's `/classify` or `/pooling`, or SGLang's `/classify`.

    judge: {name: reward_server, endpoint: http://127.0.0.1:8000/v1, model: my-reward-model}

The conversation is sent with the answer as its last, assistant turn. vLLM renders it with its own chat
template; with `tokenizer`, it is rendered here and sent as token ids, which SGLang requires. Scores are the
outputs of the model before any activation function. Several outputs are combined by `weights`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import model_validator

from boresight.config.secrets import KeyVariable
from boresight.core.errors import UserError
from boresight.core.schema import Message, Prompt
from boresight.data.tokenizer import Tokenizer
from boresight.llm.replies.reply import Reply
from boresight.llm.request import Request
from boresight.llm.transports.reward_outputs import LONGEST_OUTPUTS, ROUTE, SGLANG_IDS, VLLM_IDS
from boresight.scorers.judges.base import Score, Scorer
from boresight.scorers.judges.endpoint import STAGE, Completer, EndpointConfig, why
from boresight.scorers.judges.heads import Heads


class Config(EndpointConfig):
    """Settings of the server."""

    key_env: KeyVariable = "VLLM_API_KEY"
    """Environment variable that holds the key. Any non-empty value is accepted by servers that need no
    key."""
    server: Literal["vllm", "sglang"] = "vllm"
    """Server program."""
    route: Literal["classify", "pooling"] = "classify"
    """Route of vLLM to use."""
    tokenizer: str | None = None
    """A model folder or hub id whose chat template renders conversations here; null leaves that to vLLM."""
    labels: list[str] = []
    """Names of the model's outputs in order, if there are several."""
    weights: dict[str, float] = {}
    """Weight of each output, by its label: `{helpfulness: 0.65, correctness: 0.8}`."""

    @model_validator(mode="after")
    def _as_served(self) -> Self:
        if self.server == "sglang" and (self.tokenizer is None or self.route != "classify"):
            raise ValueError("SGLang takes token ids at /classify; give a tokenizer, and leave route out")
        try:
            Heads(tuple(self.labels), self.weights)
        except UserError as error:
            raise ValueError(str(error).removeprefix("judge.").rstrip(".")) from None
        return self


def build(config: Config, completer: Completer, console: object = None) -> RewardServer:
    """Build a judge that sends its requests through `completer`."""
    return RewardServer(config, completer)


class RewardServer(Scorer):
    """Scorer that returns the output of the served model, or the weighted sum of several outputs."""

    def __init__(self, config: Config, completer: Completer) -> None:
        super().__init__()
        self.name = f"reward model {config.model} at {config.endpoint}"
        self.config, self.completer = config, completer
        self.heads = Heads(tuple(config.labels), config.weights)

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str], repeat: int = 0) -> list[Score]:
        """Send one request per answer and return the scores.

        An answer that cannot be rendered and a reply without outputs are failures.
        """
        asked = [self._request(p, text, repeat) for p, text in zip(prompts, answers, strict=True)]
        requests = [request for request in asked if isinstance(request, Request)]
        replies = iter(self.completer.complete(requests, self._problem) if requests else [])
        return [
            self._read(next(replies)) if isinstance(one, Request) else Score(None, failure=one)
            for one in asked
        ]

    @cached_property
    def _tokenizer(self) -> Tokenizer | None:
        from boresight.models.load import load_tokenizer

        return None if self.config.tokenizer is None else load_tokenizer(self.config.tokenizer)

    def _request(self, prompt: Prompt, text: str, repeat: int) -> Request | str:
        """Return the request for a conversation, or the reason why it cannot be rendered."""
        turns: list[Message] = [*prompt.prompt, Message(role="assistant", content=text)]
        params: dict[str, Any] = {ROUTE: self.config.route, "max_tokens": LONGEST_OUTPUTS}
        if self.config.server == "vllm":
            params["use_activation"] = False
        if self._tokenizer is not None:
            from boresight.data.chat import encode_conversation

            try:
                named = VLLM_IDS if self.config.server == "vllm" else SGLANG_IDS
                params[named] = encode_conversation(self._tokenizer, turns).tolist()
            except UserError as error:
                return f"cannot be encoded: {error}"
        return Request(self.config.endpoint, self.config.model, turns, params, sample=repeat, stage=STAGE)

    def _problem(self, reply: Reply) -> str | None:
        """Return why a reply has no score; None if it has one."""
        return self._read(reply).failure or None

    def _read(self, reply: Reply) -> Score:
        if reply.failure:
            return Score(None, failure=why(reply))
        try:
            outputs = json.loads(reply.text)
        except ValueError:
            outputs = None
        if not isinstance(outputs, list) or not all(isinstance(x, int | float) for x in outputs):
            return Score(None, failure=f"not the outputs of a reward model: {reply.text[:80]!r}")
        return self.heads.score(outputs)
