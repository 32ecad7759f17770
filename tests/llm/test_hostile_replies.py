"""Responses that cannot be read, stored or believed: typed failures of their own, and the others arrive."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="the client needs the extra [api]")

from boresight.llm.client import BILLED_ATTEMPTS, Stopped
from boresight.llm.ledger import Ledger
from boresight.llm.rate_limits import LimitSection
from boresight.llm.replies.failures import classify_error, classify_status, one_line, redacted
from boresight.llm.replies.usable import ENOUGH, PROBES
from boresight.llm.session import Session
from boresight.llm.transports import http_body
from tests.llm.fake_server import FakeServer
from tests.llm.helpers import KEY, digest_of, requests, run, section

Response = tuple[int, bytes, dict[str, str]]
Payload = dict[str, Any]


def changed(payload: Payload, **message: Any) -> bytes:
    """The payload with another message."""
    choice = {**payload["choices"][0], "message": {"role": "assistant", **message}}
    return json.dumps({**payload, "choices": [choice]}).encode()


def with_usage(payload: Payload, usage: str) -> bytes:
    """The payload with raw JSON as its usage."""
    return json.dumps({**payload, "usage": 0}).replace('"usage": 0', f'"usage": {usage}').encode()


UNREADABLE: dict[str, tuple[Callable[[Payload], bytes], str, str]] = {
    "no json": (lambda p: b"<html>Bad gateway</html>", "invalid_json", "no JSON: '<html>"),
    "list": (lambda p: b"[1, 2]", "invalid_json", "no JSON object"),
    "number": (lambda p: b"1e999", "invalid_json", "no JSON object"),
    "deep": (lambda p: b'{"a":' * 1000 + b"1" + b"}" * 1000, "invalid_json", "deeper than 100"),
    "deeper": (lambda p: b"[" * 200_000, "invalid_json", "deeper than 100|no JSON"),
    "deep aside": (
        lambda p: json.dumps(p)[:-1].encode() + b', "x": ' + b"[" * 150 + b"]" * 150 + b"}",
        "invalid_json",
        "deeper than 100",
    ),
    "not utf-8": (lambda p: json.dumps(p).encode().replace(b"stop", b"st\xffp"), "invalid_json", "not UTF-8"),
    "digits": (lambda p: with_usage(p, "9" * 5000), "invalid_json", "no JSON"),
    "no choices": (lambda p: b'{"object": "chat.completion"}', "invalid_json", "not a chat completion"),
    "choices null": (lambda p: b'{"choices": null}', "invalid_json", "not a chat completion"),
    "choices empty": (lambda p: b'{"choices": []}', "invalid_json", "not a chat completion"),
    "message text": (lambda p: b'{"choices": [{"message": "hi"}]}', "invalid_json", "not a chat completion"),
    "content number": (lambda p: changed(p, content=7), "invalid_json", "no text: 7"),
    "null": (lambda p: changed(p, content=None), "empty", "no content"),
    "thought": (
        lambda p: changed(p, content="", reasoning_content="Hm."),
        "empty",
        "all of it was reasoning",
    ),
    "tool": (lambda p: changed(p, content=None, tool_calls=[{"id": "1"}]), "empty", "calls a tool"),
    "surrogate": (lambda p: changed(p, content="half a pair: \ud83d"), "invalid_text", r"pair: \\ud83d"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_response_that_cannot_be_used_fails_alone_with_an_example_and_is_resumed(
    tmp_path: Path, case: str
) -> None:
    """One of six responses is bad; the same command again finds the others in the ledger."""
    craft, kind, said = UNREADABLE[case]

    def respond(payload: Payload) -> Response:
        bad = server.seen[-1].digest == third
        return 200, craft(payload) if bad else json.dumps(payload).encode(), {}

    limits, book = LimitSection(max_concurrency=1), tmp_path / "l.sqlite"
    with FakeServer(respond=respond) as server:
        asked = requests(server.url, 6)
        third = digest_of(asked[2])
        replies, client = run(server.url, book, asked, limits=limits)
        sent = len(server.seen)
        again, resumed = run(server.url, book, asked, limits=limits)
    assert [reply.failure for reply in replies] == [None, None, kind, None, None, None]
    assert again == replies
    assert resumed.progress.cached == (5 if kind == "invalid_json" else 6)
    assert re.search(said, replies[2].detail), replies[2].detail
    assert client.progress.first_failure[kind] == replies[2].detail  # shown with an example
    assert sent == 6 + (BILLED_ATTEMPTS - 1) * (kind == "invalid_json")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip", "plain"])
def test_a_body_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path, encoding: str) -> None:
    large = b" " * (http_body.MOST_BYTES + 1)
    bodies = {"gzip": gzip.compress(large), "deflate": zlib.compress(large), "plain": large}
    headers = {} if encoding == "plain" else {"content-encoding": encoding}

    def respond(payload: Payload) -> Response:
        return 200, bodies.get(encoding, b"x"), headers

    with FakeServer(respond=respond) as server:
        replies, _ = run(server.url, tmp_path / "l.sqlite", requests(server.url, 1), attempts=1)
    assert replies[0].failure == "invalid_json"
    asked_for = encoding in bodies
    assert ("the body has more than" if asked_for else "was not asked for") in replies[0].detail


@pytest.mark.parametrize("packed", [True, False])
def test_a_body_may_be_compressed_as_asked_for(tmp_path: Path, packed: bool) -> None:
    def respond(payload: Payload) -> Response:
        body = json.dumps(payload).encode()
        return 200, gzip.compress(body) if packed else body, {"content-encoding": "gzip"}

    with FakeServer(respond=respond) as server:
        replies, _ = run(server.url, tmp_path / "l.sqlite", requests(server.url, 1))
        assert server.headers[0]["accept-encoding"] == http_body.ACCEPTED
    assert (replies[0].failure is None) == packed


async def _unending() -> Any:
    while True:
        yield b"x" * 2**16


def test_reading_ends_with_the_limit_and_not_with_the_body() -> None:
    with pytest.raises(Exception, match="invalid_json"):
        asyncio.run(http_body.read_body_of(_unending(), "", 2**20))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 402, "message": "Insufficient credits. Add more."}, "no_money"),
        ({"code": "402", "message": "x"}, "no_money"),
        ({"code": 429, "message": "Rate limit exceeded: free-models-per-min"}, "rate_limit"),
        ({"code": "rate_limit_exceeded", "message": "slow down"}, "rate_limit"),
        ({"type": "insufficient_quota", "message": "x"}, "no_money"),
        ({"code": 401, "message": "no"}, "auth"),
        ({"type": "authentication_error", "message": "no"}, "auth"),
        ({"code": 502, "message": "provider"}, "server"),
        ({"code": "context_length_exceeded", "message": "too long"}, "bad_request"),
        ("model overloaded", "server"),
        ({"code": 1e999, "message": None}, "server"),
        (["odd"], "server"),
    ],
)
def test_an_error_inside_a_200_is_classified_as_its_status_would_be(error: object, kind: str) -> None:
    failure = classify_error(error)
    assert failure.kind == kind
    assert failure.perhaps_billed == (kind == "server")


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (402, {"code": "invalid_request_error", "message": "Insufficient Balance"}, "no_money"),
        (402, None, "no_money"),
        (400, "Your credit balance is too low to access the API.", "no_money"),
        (429, {"message": "Insufficient balance or no resource package. Please recharge."}, "no_money"),
        (429, {"message": "You exceeded your current quota, please retry in 7 s."}, "rate_limit"),
        (403, {"code": "billing_not_active"}, "no_money"),
        (403, {"message": "not for you"}, "auth"),
        (500, {"message": "insufficient credit"}, "server"),
        (529, "overloaded", "server"),
        (404, {"code": "model_not_found", "message": "no such model"}, "bad_request"),
    ],
)
def test_statuses_and_empty_accounts(status: int, error: object, kind: str) -> None:
    assert classify_status(status, {}, error).kind == kind


@pytest.mark.parametrize("inside", [True, False])
def test_an_empty_account_stops_at_once_and_keeps_what_came(tmp_path: Path, inside: bool) -> None:
    error = {"error": {"code": 402, "message": "Insufficient credits. Add more."}}

    def respond(payload: Payload) -> Response:
        if len(server.seen) <= 3:
            return 200, json.dumps(payload).encode(), {}
        return 200 if inside else 402, json.dumps(error).encode(), {}

    book = tmp_path / "l.sqlite"
    with (
        FakeServer(respond=respond) as server,
        pytest.raises(
            Stopped,
            match=r"has no money left: .*Insufficient credits\. Add more; add credit there\.$",
        ),
    ):
        run(server.url, book, requests(server.url, 50), limits=LimitSection(max_concurrency=1))
    assert len(server.seen) == 4
    with Ledger(book) as ledger:
        assert sum(n for *_, n, _, _ in ledger.costs()) == 3


def test_a_redirect_is_an_error_and_the_key_goes_nowhere_else(tmp_path: Path) -> None:
    with FakeServer() as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")

        def respond(payload: Payload) -> Response:
            return 307, b"", {"location": f"{elsewhere}/chat/completions"}

        with FakeServer(respond=respond) as server, pytest.raises(Stopped, match="redirects to http://local"):
            run(server.url, tmp_path / "l.sqlite", requests(server.url, 1))
    assert not other.headers


@pytest.mark.parametrize("quoted", [f"{'x ' * 130}{KEY}", f"{'x' * 285}{KEY}", json.dumps({"k": KEY})])
@pytest.mark.parametrize("status", [401, 400, 500, 200])
def test_a_key_that_a_server_quotes_is_removed_before_the_message_is_cut(
    tmp_path: Path, quoted: str, status: int
) -> None:
    """The cut at 300 characters falls into the key."""

    def respond(payload: Payload) -> Response:
        return status, json.dumps({"error": {"message": quoted}}).encode(), {"x-key": KEY}

    with FakeServer(respond=respond) as server:
        try:
            replies, _ = run(server.url, tmp_path / "l.sqlite", requests(server.url, 1), attempts=1)
            said = replies[0].detail
        except Stopped as stopped:
            said = str(stopped)
    assert not any(KEY[:n] in said for n in (8, len(KEY)))
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert KEY[:8].encode() not in stored


def test_a_short_key_is_removed_where_it_stands_alone() -> None:
    assert (
        redacted("key word refused; passwords differ", "word")
        == "key [key removed] refused; passwords differ"
    )
    assert redacted("token a%2Fb%2Bc0123456789", "a/b+c0123456789") == "token [key removed]"
    assert one_line("a\u202eb\x9b\ud800") == "a\\u202eb\\x9b\\ud800"


def test_a_prompt_that_is_no_text_is_not_sent_and_the_others_are(tmp_path: Path) -> None:
    with FakeServer() as server:
        asked = requests(server.url, 3)
        asked[1].messages[0]["content"] = "half a pair: \udc00"
        replies, _ = run(server.url, tmp_path / "l.sqlite", asked)
        assert len(server.seen) == 2
    assert [reply.failure for reply in replies] == [None, "invalid_text", None]


def test_when_nothing_can_be_used_the_run_stops_with_an_example(tmp_path: Path) -> None:
    """Every answer is cut; a dozen are paid for, and those under way, not five hundred."""

    def respond(payload: Payload) -> Response:
        payload["choices"][0]["finish_reason"] = "length"
        return 200, json.dumps(payload).encode(), {}

    said = r"answers: none of the first 12 replies of m .*truncated: the answer"
    with (
        FakeServer(respond=respond) as server,
        Session(tmp_path / "l.sqlite", [section(server.url)]) as session,
        pytest.raises(Stopped, match=said),
    ):
        session.complete(requests(server.url, 500))
    assert ENOUGH <= len(server.seen) < ENOUGH + PROBES
