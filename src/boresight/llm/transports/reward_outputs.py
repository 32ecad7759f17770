"""Outputs of a reward model behind vLLM's `/classify` and `/pooling`, or SGLang's `/classify`.

These paths are next to `/v1` and take a conversation as `messages`, or its token ids:

    vLLM      {"model", "messages", "use_activation": false}  or  {"model", "input": [id, …], …}
              -> {"data": [{"index": 0, "probs": [x, …], "num_classes": n}], "usage"}       /classify
              -> {"data": [{"index": 0, "data": [x, …] or [[x, …] per token]}], "usage"}    /pooling
    SGLang    {"model", "input_ids": [id, …]}  ->  {"embedding": [x, …], "meta_info"}

(vllm/entrypoints/pooling, sglang/srt/entrypoints/http_server.py.) Of values per token those of the last token
are used. Any other response is a failure of the request. The outputs become the text of a chat completion, so
that ledger, budget and retries treat a reward model as any other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from boresight.llm.replies.failures import classify_error, unreadable
from boresight.llm.replies.usage import least_tokens
from boresight.llm.request import Request

ROUTE = "route"
"""Parameter of a request that asks for outputs instead of words: `classify` or `pooling`."""
VLLM_IDS, SGLANG_IDS = "input", "input_ids"
"""Parameter with the tokens of the conversation, for servers that do not render it."""
OUTPUTS = ("probs", "data", "embedding")
"""Keys of a result with its outputs."""
MOST_OUTPUTS = 64
"""Largest number of outputs; more are the hidden state of a model without a reward head."""
LONGEST_OUTPUTS = 512
"""`max_tokens` of a request for outputs: upper bound of the tokens of their text."""


def asks_for_outputs(request: Request) -> bool:
    """Whether a request is for a reward model's outputs and not for generated text."""
    return ROUTE in request.params


def outputs_url(base_url: str, request: Request) -> str:
    """The URL of the request's route, next to `/v1`."""
    return f"{base_url.rstrip('/').removesuffix('/v1')}/{request.params[ROUTE]}"


def outputs_body(request: Request) -> dict[str, Any]:
    """The JSON body of a request."""
    params = {k: v for k, v in request.params.items() if k not in (ROUTE, "max_tokens")}
    rendered = VLLM_IDS in params or SGLANG_IDS in params
    return {
        "model": request.model,
        **({} if rendered else {"messages": list(request.messages)}),
        **params,
    }


def as_completion(body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion whose text is the list of outputs.

    Raises:
        RequestFailure: the body is an error, or holds no outputs of one conversation.
    """
    text = json.dumps(read_outputs(body))
    usage, meta = body.get("usage"), body.get("meta_info")
    prompt = next((of.get("prompt_tokens") for of in (usage, meta) if isinstance(of, Mapping)), None)
    return {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        # No token is generated; numbers are booked as their text would be.
        "usage": {"prompt_tokens": prompt, "completion_tokens": least_tokens(text)},
    }


def read_outputs(body: Mapping[str, Any]) -> list[float]:
    """The outputs of one conversation, finite numbers in the order of the model's labels.

    Raises:
        RequestFailure: as `as_completion` does.
    """
    if body.get("error") or body.get("object") == "error":
        raise classify_error(body.get("error") or body)
    results = body["data"] if isinstance(body.get("data"), list) else [body]
    if len(results) != 1:
        raise unreadable(f"{len(results)} results were returned for one conversation")
    result = results[0] if isinstance(results[0], Mapping) else {}
    place = next((name for name in OUTPUTS if isinstance(result.get(name), list)), None)
    if place is None:
        named = " or ".join(OUTPUTS)
        raise unreadable(f"the result has no list of numbers ({named}): {str(results[0])[:200]}")
    numbers = result[place]
    if numbers and all(isinstance(row, list) for row in numbers):
        numbers = numbers[-1]
    if not 0 < len(numbers) <= MOST_OUTPUTS:
        raise unreadable(
            f"{len(numbers):,} numbers were returned, where a reward model has 1 to {MOST_OUTPUTS}"
        )
    if result.get("num_classes") not in (None, len(numbers)):
        raise unreadable(
            f"{len(numbers)} numbers were returned for num_classes {str(result['num_classes'])[:20]}"
        )
    return [_number(value) for value in numbers]


def _number(value: object) -> float:
    """A finite number, and no text that looks like one."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise unreadable(f"an output is {str(value)[:40]!r}, not a finite number")
    return number
