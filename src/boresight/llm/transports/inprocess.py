"""Sample from a model in this process as a transport, without server or network; by default the starter
model.

Waiting requests are sampled together in one thread. The random numbers of a request depend only on its
prompt, settings and sample index, so an interrupted run continues with the same answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from boresight.core.errors import UserError
from boresight.data.tokenizer import Tokenizer
from boresight.llm.replies.failures import RequestFailure
from boresight.llm.request import Request
from boresight.models.policy import Policy

if TYPE_CHECKING:
    from boresight.models.sampler.params import Sample, SamplingParams

IN_PROCESS = "in-process"
"""Value in place of the base URL in requests and in the ledger."""
BodyOrFailure = dict[str, Any] | RequestFailure
"""A chat completion, or the failure of one of the requests that are sampled together."""
KNOWN = {"max_tokens", "temperature", "top_p", "top_k", "seed"}


class InProcessTransport:
    """Transport that answers requests for the model `name` with `boresight.models.sampler.sample`.

    Args:
        name: `starter`, a folder (a run folder too) or a hub id.
        batch: maximum number of requests sampled at a time.

    Raises:
        UserError: there is no such model; raised by the first request.
    """

    base_url = IN_PROCESS

    def __init__(self, name: str, batch: int = 128) -> None:
        self.name, self.batch = name, batch
        self._waiting: list[tuple[Request, asyncio.Future[BodyOrFailure]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1)

    async def send(self, request: Request) -> dict[str, Any]:
        """Sample a completion, and return it as the body of a response (see `Transport.send`).

        Raises:
            UserError: the request has a sampling parameter that is not supported.
            RequestFailure: the prompt leaves no room for an answer.
        """
        if unknown := set(request.params) - KNOWN:
            raise UserError(
                f"params: the model in this process does not know {', '.join(sorted(unknown))}; "
                f"it takes {', '.join(sorted(KNOWN))}."
            )
        promise: asyncio.Future[BodyOrFailure] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, promise))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        answer = await promise
        if isinstance(answer, RequestFailure):
            raise answer
        return answer

    async def close(self) -> None:
        """Stop the sampling thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        """Sample the waiting requests until there are none."""
        await asyncio.sleep(0)  # let the other tasks add their requests, for a full first batch
        try:
            while self._waiting:
                part, self._waiting = self._waiting[: self.batch], self._waiting[self.batch :]
                await self._answer(part)
        finally:
            self._worker = None

    async def _answer(self, part: Sequence[tuple[Request, asyncio.Future[BodyOrFailure]]]) -> None:
        asked = [request for request, _ in part]
        try:
            bodies = await asyncio.get_running_loop().run_in_executor(self._thread, self._sample, asked)
        except Exception as error:  # any error is passed to the waiting requests
            for _, promise in part:
                if not promise.done():
                    promise.set_exception(error)
            return
        for (_, promise), body in zip(part, bodies, strict=True):
            if not promise.done():
                promise.set_result(body)

    @cached_property
    def _loaded(self) -> tuple[Policy, Tokenizer]:
        """The model and its tokenizer, loaded on first access."""
        from boresight.models.sampler.generate import load_chat_model

        return load_chat_model(self.name)

    def _sample(self, asked: Sequence[Request]) -> list[BodyOrFailure]:
        from boresight.data.chat import encode_prompt
        from boresight.models.policy import longest_sequence
        from boresight.models.sampler.generate import decode
        from boresight.models.sampler.sample import sample

        model, tokenizer = self._loaded
        groups = _groups(asked)
        prompts = [encode_prompt(tokenizer, list(group[0].messages)) for group in groups]
        bodies: dict[str, BodyOrFailure] = {}
        by_k: dict[int, list[int]] = defaultdict(list)
        for i, group in enumerate(groups):
            if len(prompts[i]) < longest_sequence(model):
                by_k[max(request.sample for request in group) + 1].append(i)
            else:
                said = f"a prompt of {len(prompts[i]):,} tokens fills the model's context or is longer"
                bodies |= {request.key: RequestFailure("bad_request", said) for request in group}
        for k, members in by_k.items():
            params = [_params(groups[i][0], model) for i in members]
            drawn = decode(tokenizer, sample(model, [prompts[i] for i in members], params, k))
            for i, samples in zip(members, drawn, strict=True):
                for request in groups[i]:
                    bodies[request.key] = _body(request, len(prompts[i]), samples[request.sample])
        return [bodies[request.key] for request in asked]


def _groups(asked: Sequence[Request]) -> list[list[Request]]:
    """Group the requests that differ only in their sample index, so that their prompt is processed once."""
    groups: dict[str, list[Request]] = defaultdict(list)
    for request in asked:
        groups[_prompt_identity(request)].append(request)
    return list(groups.values())


def _prompt_identity(request: Request) -> str:
    return json.dumps([list(request.messages), dict(request.params)], sort_keys=True)


def _params(request: Request, model: Policy) -> SamplingParams:
    from boresight.models.sampler.generate import stopping_at_turns
    from boresight.models.sampler.params import SamplingParams

    p = request.params
    stream = int.from_bytes(hashlib.sha256(_prompt_identity(request).encode()).digest()[:8], "big")
    params = SamplingParams(
        max_new_tokens=request.max_tokens,
        seed=p.get("seed", 0),
        temperature=p.get("temperature", 1.0),
        top_p=p.get("top_p", 1.0),
        top_k=p.get("top_k", 0),
        stream=stream,
    )
    return stopping_at_turns(model, params)


def _body(request: Request, prompt_tokens: int, sample: Sample) -> dict[str, Any]:
    """Convert a sample to a chat completion."""
    message = {"role": "assistant", "content": sample.text}
    return {
        "object": "chat.completion",
        "model": request.model,
        "choices": [{"finish_reason": sample.finish, "message": message}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": len(sample.ids)},
    }
