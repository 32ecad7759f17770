"""Sample from a `vllm serve` over HTTP: token ids in, token ids and log-probabilities out.

    server = VllmServer("http://127.0.0.1:8000", key)
    server.load_adapter("step-3", folder)
    samples = server.sample("step-3", prompts, params, k=8)

vLLM is a server, never imported. Endpoints in use: `/v1/models`, `/v1/completions` with prompts as ids
and `return_token_ids`, and `/v1/load_lora_adapter` and `/v1/unload_lora_adapter`, for which the server must
have been started with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True.
"""

from __future__ import annotations

import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from boresight.core.errors import UserError, named_first_line
from boresight.llm.replies.failures import one_line, redacted
from boresight.llm.replies.reply import INTERRUPTED
from boresight.models.sampler.params import Sample, SamplingParams, within_context

CONCURRENCY = 64
"""Maximum number of prompts in flight; the server forms batches."""
ATTEMPTS = 4
PAUSE = 0.5
"""Seconds between the first two attempts of a request while the server fails, doubling afterwards; `ATTEMPTS`
is the maximum number of attempts."""
TIMEOUT = 1800.0
"""Timeout of one request, in seconds."""
MOST_BYTES = 2**28
"""Maximum size of a body, in bytes: token ids and log-probabilities of all completions of a prompt."""
MOST_ERROR_BYTES = 2**16
"""Maximum number of bytes of an error that are read."""
LARGEST_ID = 2**31 - 1
"""Maximum token id, since ids are stored in 32 bits."""
LARGEST_LOGP = 0.01
"""Maximum log-probability, in nats: above 0 by the rounding of a server that computes in 16 bits."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Handler that makes every redirect an error, since urllib would send the key along."""

    def redirect_request(self, *_: object) -> None:
        """Refuse every redirect."""


_OPENER = urllib.request.build_opener(_NoRedirects)


class VllmServer:
    """Client of one vLLM server.

    The key is sent with every request and appears in no message. `section` is the name of the server's recipe
    section, for error messages.

    Raises (all methods):
        UserError: the server cannot be reached, refuses the request, or returns a response that vLLM would
            not.
    """

    def __init__(
        self, base_url: str, key: str | None = None, *, section: str = "rollout", pause: float = PAUSE
    ) -> None:
        self._section = section
        if not base_url.startswith(("http://", "https://")):
            raise UserError(f"{section}.base_url: {base_url!r} does not begin with http:// or https://.")
        self.url = base_url.rstrip("/").removesuffix("/v1")
        self._key = key
        self._pause = pause

    def base_model(self) -> str:
        """Return the name of the served model without adapters."""
        return str(self._served()["id"])

    @cached_property
    def context(self) -> int | None:
        """Maximum number of tokens of a prompt with its completion; None if the server reports none."""
        longest = self._served().get("max_model_len")
        return longest if isinstance(longest, int) and longest > 0 else None

    def _served(self) -> dict[str, Any]:
        """Return the server's entry for the model without adapters."""
        with self._as_vllm_does("/v1/models"):
            served = self._call("/v1/models")["data"]
            base: dict[str, Any] = next(m for m in served if not m.get("parent"))
            return base | {"id": base["id"]}

    def load_adapter(self, name: str, folder: Path) -> None:
        """Load the PEFT adapter in `folder` into the server, which must be able to read the same path."""
        body = {"lora_name": name, "lora_path": str(folder)}
        self._call("/v1/load_lora_adapter", body, "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, "
                   "--enable-lora and a --max-lora-rank that holds model.lora.r")  # fmt: skip

    def unload_adapter(self, name: str) -> None:
        """Unload an adapter from the server."""
        self._call("/v1/unload_lora_adapter", {"lora_name": name})

    def sample(
        self, model: str, prompts: Sequence[np.ndarray], params: SamplingParams, k: int
    ) -> list[list[Sample]]:
        """Sample `k` completions of each prompt; returns `result[prompt][completion]`.

        The interface is that of `models.sampler.sample`, but the random numbers are vLLM's. The requested
        length is reduced to the server's context length, since vLLM refuses longer requests; a completion
        that reaches it is marked as truncated.
        """
        fitting = within_context(self.context, prompts, [params] * len(prompts))

        def one(index: int) -> list[Sample]:
            answer = self._call(
                "/v1/completions", completion_request(model, prompts[index], fitting[index], k, index)
            )
            with self._as_vllm_does("/v1/completions"):
                choices = sorted(answer["choices"], key=lambda choice: choice["index"])
                if len(choices) != k:
                    said = f"asked for {k} completions, the server sent {len(choices)}"
                    raise UserError(f"{self._section}.base_url: {said}.")
                return [parse_choice(choice, index, params, self._section) for choice in choices]

        with ThreadPoolExecutor(CONCURRENCY) as pool:
            return list(pool.map(one, range(len(prompts))))

    @contextmanager
    def _as_vllm_does(self, path: str) -> Iterator[None]:
        """Context manager that turns the exceptions of parsing an unexpected response into a `UserError`."""
        try:
            yield
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, StopIteration) as error:
            said = f"{self.url}{path} does not answer as vLLM does ({one_line(named_first_line(error))})"
            raise UserError(
                f"{self._section}.base_url: {said}; give the address of a `vllm serve`."
            ) from None

    def _call(self, path: str, body: dict[str, Any] | None = None, hint: str = "look at its log") -> Any:
        for attempt in range(ATTEMPTS):
            try:
                return self._send(path, body)
            except urllib.error.HTTPError as error:
                said = error.read(MOST_ERROR_BYTES).decode("utf-8", "replace")
                if error.code < 500 or attempt + 1 == ATTEMPTS:
                    raise UserError(self._refusal(path, error.code, said, hint)) from None
            except (OSError, HTTPException, ValueError, RecursionError) as error:
                if attempt + 1 == ATTEMPTS:
                    said = one_line(redacted(named_first_line(error), self._key))
                    raise UserError(
                        f"{self._section}.base_url: {self.url} cannot be reached ({said}); "
                        "start `vllm serve` there, then run this again."
                    ) from None
            time.sleep(self._pause * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _send(self, path: str, body: dict[str, Any] | None) -> Any:
        request = urllib.request.Request(self.url + path, json.dumps(body).encode() if body else None)
        request.add_header("Content-Type", "application/json")
        if self._key:
            request.add_header("Authorization", f"Bearer {self._key}")
        with _OPENER.open(request, timeout=TIMEOUT) as response:
            content = response.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(
                f"{self._section}.base_url: {self.url}{path} sent more than {MOST_BYTES:,} bytes."
            )
        text = content.decode("utf-8")
        is_json = text.startswith(("{", "["))  # adapters are answered with a plain sentence
        return json.loads(text) if is_json else text

    def _refusal(self, path: str, status: int, said: str, hint: str) -> str:
        if status in (401, 403):
            return f"{self._section}.key_env: {self.url} refuses access; set the variable to its key."
        quoted = one_line(redacted(said, self._key))
        return f"{self._section}.base_url: {self.url}{path} answered {status} ({quoted}); {hint}."


def completion_request(
    model: str, prompt: np.ndarray, params: SamplingParams, k: int, index: int
) -> dict[str, Any]:
    """Return the body of one request for `k` completions.

    Every setting is explicit, because the server takes defaults from the model's generation config.
    """
    stream = index if params.stream is None else params.stream
    return {
        "model": model,
        "prompt": prompt.tolist(),
        "n": k,
        "max_tokens": params.max_new_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop_token_ids": list(params.stop_token_ids),
        "seed": int(np.random.SeedSequence((params.seed, stream)).generate_state(1)[0] >> 1),
        "logprobs": 0,
        "return_token_ids": True,
    }


def parse_choice(
    choice: dict[str, Any], prompt_index: int, params: SamplingParams, section: str = "rollout"
) -> Sample:
    """Convert one completion of a response to a `Sample`, including its stop token.

    Raises:
        UserError: the completion lacks valid token ids or log-probabilities, or stops at an unknown stop
            token.
    """
    ids, logps = choice.get("token_ids"), (choice.get("logprobs") or {}).get("token_logprobs")
    if not ids or logps is None or len(ids) != len(logps) or None in logps:
        raise UserError(
            f"{section}.base_url: the answer lacks token_ids or their log-probabilities; "
            "use a vLLM version that supports return_token_ids."
        )
    if not all(type(token) is int and 0 <= token <= LARGEST_ID for token in ids):
        raise UserError(f"{section}.base_url: token_ids are not all ids of tokens; give a `vllm serve`.")
    if not all(isinstance(logp, int | float) and -math.inf < logp <= LARGEST_LOGP for logp in logps):
        raise UserError(
            f"{section}.base_url: the log-probabilities are not all finite numbers up to 0; serve the model "
            "in a precision that holds its logits."
        )
    if choice["finish_reason"] in INTERRUPTED:
        raise UserError(
            f"{section}.base_url: the server broke a completion off (finish_reason "
            f"{choice['finish_reason']}), which is no whole answer; run this again when it serves."
        )
    stopped = ids[-1] in params.stop_token_ids
    if choice["finish_reason"] == "stop" and not stopped:
        raise UserError(
            f"{section}.base_url: the server stopped at token {ids[-1]}, which ends no turn here; "
            "serve the model with the generation config that it is trained with."
        )
    return Sample(
        prompt_index=prompt_index,
        ids=np.array(ids, np.int32),
        logps=np.array(logps, np.float32),
        finish="stop" if stopped else "length",
    )
