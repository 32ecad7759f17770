"""Request the outputs of a reward model from vLLM's `/classify` and `/pooling`, or SGLang's `/classify`.

These paths are next to `/v1` and take a conversation as `messages`, or its token ids:

    vLLM      {"model", "messages", "use_activation": false}  or  {"model", "input": [id, …], …}
              -> {"data": [{"index": 0, "probs": [x, …], "num_classes": n}], "usage"}       /classify
              -> {"data": [{"index": 0, "data": [x, …] or [[x, …] per token]}], "usage"}    /pooling
    SGLang    {"model", "input_ids": [id, …]}  ->  {"embedding": [x, …], "meta_info"}

(vllm/entrypoints/pooling, sglang/srt/entrypoints/http_server.py.) If there are values for every token, those
of the last token are used. Any other response is a failure of the request. The outputs become the text of a
chat completion, so that ledger, budget and retries treat a reward model like any other model.
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
"""Parameter of a request for outputs in place of generated text; its value is `classify` or `pooling`."""
VLLM_IDS, SGLANG_IDS = "input", "input_ids"
"""Parameters with the token ids of the conversation, for servers that do not render it."""
OUTPUTS = ("probs", "data", "embedding")
"""Keys under which a result may contain its outputs."""
MOST_OUTPUTS = 64
"""Maximum number of outputs; more are the hidden state of a model without a reward head."""
LONGEST_OUTPUTS = 512
"""`max_tokens` of a request for outputs: upper bound of the number of tokens of their text."""


def asks_for_outputs(request: Request) -> bool:
    """Return whether a request is for a reward model's outputs and not for generated text."""
    return ROUTE in request.params


def outputs_url(base_url: str, request: Request) -> str:
    """Return the URL for a request: `base_url` with a trailing `/v1` replaced by the route, such as
    `http://host/classify`."""
    return f"{base_url.rstrip('/').removesuffix('/v1')}/{request.params[ROUTE]}"


def outputs_body(request: Request) -> dict[str, Any]:
    """Return the JSON body of a request for outputs."""
    params = {k: v for k, v in request.params.items() if k not in (ROUTE, "max_tokens")}
    rendered = VLLM_IDS in params or SGLANG_IDS in params
    return {
        "model": request.model,
        **({} if rendered else {"messages": list(request.messages)}),
        **params,
    }


def as_completion(body: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a response to a chat completion whose text is the list of outputs.

    Raises:
        RequestFailure: the body is an error, or does not contain the outputs of exactly one conversation.
    """
    text = json.dumps(read_outputs(body))
    usage, meta = body.get("usage"), body.get("meta_info")
    prompt = next((of.get("prompt_tokens") for of in (usage, meta) if isinstance(of, Mapping)), None)
    return {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        # No token is generated; the numbers are counted as if their text were.
        "usage": {"prompt_tokens": prompt, "completion_tokens": least_tokens(text)},
    }


def read_outputs(body: Mapping[str, Any]) -> list[float]:
    """Return the outputs of one conversation, finite numbers in the order of the model's labels.

    Raises:
        RequestFailure: the body is an error, or does not contain the outputs of exactly one conversation.
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
    """Return a finite number; strings and booleans are refused.

    Raises:
        RequestFailure: the value is not a finite number.
    """
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise unreadable(f"an output is {str(value)[:40]!r}, not a finite number")
    return number
