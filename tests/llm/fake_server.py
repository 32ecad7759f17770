"""A real HTTP server on loopback that speaks the OpenAI protocol, and misbehaves on demand.

    with FakeServer(faults=some({"500": 0.05, "stall": 0.01})) as server:
        ... base_url=server.url ...
    server.answered          # how often each request body got a whole, good answer

It keeps limits of its own, answers 429 when they are passed, and remembers every request. Answers are a
function of the request's body, so that two runs can be compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Fault = str | None
Faults = Callable[[str, int], Fault]
"""(digest of the body, attempt from 1) -> what goes wrong."""

PERMANENT = {"refusal", "filter", "length"}
"""These belong to the prompt and come back at every attempt; the others are bad luck."""


def nothing(digest: str, attempt: int) -> Fault:
    """No fault."""
    return None


def some(shares: dict[str, float], attempts: int = 1) -> Faults:
    """Each fault hits its share of the bodies, on their first `attempts` attempts.

    A function of the digest: every run, disturbed or not, draws the same permanent ones.
    """

    def fault(digest: str, attempt: int) -> Fault:
        luck = random.Random(digest).random()
        for name, share in shares.items():
            if luck < share:
                return name if name in PERMANENT or attempt <= attempts else None
            luck -= share
        return None

    return fault


@dataclass
class Limit:
    """What the server lets through in a minute: a bucket that starts full and holds `slack` of it."""

    per_minute: float
    slack: float = 0.01
    level: float = field(init=False)
    at: float | None = None

    def __post_init__(self) -> None:
        self.level = self.per_minute * self.slack

    def take(self, amount: float, now: float) -> bool:
        if self.at is not None:
            earned = (now - self.at) * self.per_minute / 60
            self.level = min(self.per_minute * self.slack, self.level + earned)
        self.at = now
        if self.level < amount:
            return False
        self.level -= amount
        return True


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    at: float
    digest: str
    attempt: int
    outcome: str
    tokens: int


Respond = Callable[[dict[str, Any]], tuple[int, bytes, dict[str, str]]]
"""(a good payload) -> status, body and further headers of the response that goes out in its place."""
Answer = Callable[[dict[str, Any], str], str]
Outputs = Callable[[dict[str, Any]], tuple[int, Any]]
"""(body at /classify or /pooling) -> status, and a payload or bytes to send."""


def echo(body: dict[str, Any], digest: str) -> str:
    """Words that only this body gets, 5 to 24 of them."""
    draw = random.Random(digest)
    return " ".join(f"w{draw.randrange(1000)}" for _ in range(5 + draw.randrange(20)))


class FakeServer:
    """Runs in a thread of its own from `__enter__` to `__exit__`."""

    def __init__(
        self,
        *,
        faults: Faults = nothing,
        answer: Answer = echo,
        rpm: float | None = None,
        tpm: float | None = None,
        latency: Callable[[int], float] = lambda under_way: 0.0,
        retry_after: str = "0.05",
        key: str | None = None,
        down: bool = False,
        modern: bool = False,
        respond: Respond | None = None,
        outputs: Outputs | None = None,
    ):
        self.faults, self.answer, self.latency = faults, answer, latency
        self.requests = Limit(rpm) if rpm else None
        self.tokens = Limit(tpm) if tpm else None
        self.retry_after, self.key, self.down = retry_after, key, down
        self.modern, self.respond, self.outputs = modern, respond, outputs
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.seen: list[Seen] = []
        self.headers: list[dict[str, str]] = []
        self.answered: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.under_way = self.most_under_way = 0
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.batch_script: Callable[..., Any] | None = None
        self.edit_results: Callable[[bytes], bytes] = lambda content: content
        self.batch_fault: Callable[[str], str | None] = lambda route: None
        """Route -> `before` or `after`: a 503 in place of the work, or after it."""
        self.hold_batches = False
        self._change = threading.Condition()
        self._ready = threading.Event()

    # --- life -----------------------------------------------------------------------------------

    def __enter__(self) -> FakeServer:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=2**24)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        await self._stop.wait()
        server.close()

    def wait_until_answered(self, count: int) -> None:
        """Block until that many good answers have gone out."""
        with self._change:
            assert self._change.wait_for(lambda: sum(self.answered.values()) >= count, timeout=120)

    # --- HTTP -----------------------------------------------------------------------------------

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.strip().split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = first.split(" ")
                keep = await self._route(method, path, headers, body, writer)
                if not keep:
                    break
        with contextlib.suppress(ConnectionError):
            writer.close()

    async def _route(
        self, method: str, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        self.headers.append(headers)
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            wrong = headers.get("authorization", "").removeprefix("Bearer ")
            await _respond(writer, 401, _error(f"Incorrect API key provided: {wrong}", "invalid_api_key"))
            return True
        if path.endswith("/chat/completions"):
            return await self._chat(json.loads(body), writer)
        if self.outputs is not None and path in ("/classify", "/pooling"):
            asked = json.loads(body)
            self.asked.append((path, asked))
            status, payload = self.outputs(asked)
            sent = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            await _respond(writer, status, sent)
            return True
        from tests.llm.fake_batches import batch_route

        await _respond(writer, *batch_route(self, method, path, headers, body))
        return True

    async def _chat(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        now = time.monotonic()
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        self.attempts[digest] += 1
        attempt = self.attempts[digest]
        payload = completion(body, self.answer(body, digest))
        used = payload["usage"]["total_tokens"]
        fault = "500" if self.down else self._over_limit(used, now) or self.faults(digest, attempt)
        if self.modern and "max_tokens" in body:
            fault = "other limit"
        self.seen.append(Seen(now, digest, attempt, fault or "ok", used))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if delay := self.latency(self.under_way):
                await asyncio.sleep(delay)
            if self.respond is not None and fault is None:
                await _respond(writer, *self.respond(payload))
                self._count_answer(digest)
                return True
            keep = await MISBEHAVE[fault](self, writer, payload)
        finally:
            self.under_way -= 1
        if fault is None or fault in PERMANENT or fault == "slow":
            self._count_answer(digest)
        return keep

    def _count_answer(self, digest: str) -> None:
        with self._change:
            self.answered[digest] += 1
            self._change.notify_all()

    def _over_limit(self, tokens: int, now: float) -> Fault:
        if self.requests and not self.requests.take(1, now):
            return "429"
        if self.tokens and not self.tokens.take(tokens, now):
            return "429"
        return None

    def outcomes(self) -> Counter[str]:
        """Requests by outcome."""
        return Counter(seen.outcome for seen in self.seen)


def completion(body: dict[str, Any], text: str) -> dict[str, Any]:
    """A chat completion with usage, one word a token."""
    prompt = sum(len(m["content"].split()) for m in body["messages"])
    usage = {"prompt_tokens": prompt, "completion_tokens": len(text.split())}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": {**usage, "total_tokens": sum(usage.values())},
    }


def _error(message: str, code: str) -> bytes:
    return json.dumps({"error": {"message": message, "code": code, "type": code, "param": None}}).encode()


async def _respond(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()


# --- what can go wrong; each returns whether the connection lives on -------------------------------


async def _good(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    await _respond(writer, 200, json.dumps(payload).encode())
    return True


async def _slow(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    await asyncio.sleep(0.3)
    return await _good(server, writer, payload)


async def _stall(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    await server._stop.wait()
    return False


async def _refused(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    headers = {"retry-after": server.retry_after} if server.retry_after else {}
    await _respond(writer, 429, _error("Rate limit reached", "rate_limit_exceeded"), headers)
    return True


async def _broken(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    await _respond(writer, 500, _error("The server had an error", "server_error"))
    return True


async def _dropped(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()
    return False


async def _garbage(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    await _respond(writer, 200, b"<html>Bad gateway</html>")
    return True


async def _half(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    text = json.dumps(payload).encode()
    await _respond(writer, 200, text[: len(text) // 2])
    return True


async def _no_quota(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    await _respond(writer, 429, _error("You exceeded your quota", "insufficient_quota"))
    return True


async def _bad_request(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    await _respond(writer, 400, _error("context length exceeded", "context_length_exceeded"))
    return True


async def _other_limit(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    """What OpenAI's reasoning models say."""
    said = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead."
    )
    await _respond(writer, 400, _error(said, "unsupported_parameter"))
    return True


async def _refusal(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    payload["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "I cannot."}
    return await _good(server, writer, payload)


async def _filter(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    payload["choices"][0] |= {"finish_reason": "content_filter"}
    payload["choices"][0]["message"]["content"] = ""
    return await _good(server, writer, payload)


async def _length(server: FakeServer, writer: asyncio.StreamWriter, payload: dict[str, Any]) -> bool:
    payload["choices"][0] |= {"finish_reason": "length"}
    return await _good(server, writer, payload)


MISBEHAVE: dict[Fault, Callable[..., Any]] = {
    None: _good,
    "slow": _slow,
    "stall": _stall,
    "429": _refused,
    "500": _broken,
    "drop": _dropped,
    "garbage": _garbage,
    "half": _half,
    "quota": _no_quota,
    "other limit": _other_limit,
    "400": _bad_request,
    "refusal": _refusal,
    "filter": _filter,
    "length": _length,
}
