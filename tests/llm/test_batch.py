"""The batch API: joined on ids, partly failed, expired, refused, and found again after a crash."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

pytest.importorskip("openai", reason="the client needs the extra [api]")

from boresight.llm.budget import Budget, Price
from boresight.llm.client import Client, Endpoint, Stopped
from boresight.llm.ledger import Ledger, Spent
from boresight.llm.rate_limits import LimitSection
from boresight.llm.replies.reply import Reply
from boresight.llm.replies.retries import ATTEMPTS
from boresight.llm.request import Request
from boresight.llm.session import Session
from boresight.llm.transports import batch as batches
from boresight.llm.transports.batch import MOST_REQUESTS, BatchTransport
from tests.llm.fake_batches import Lines, good_line
from tests.llm.fake_server import FakeServer, completion, echo
from tests.llm.helpers import KEY_ENV, MODEL, digest_of, requests, section

REFUSED = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."


def ask(
    server: FakeServer,
    book: Path,
    asked: list[Request],
    give_up_after: float | None = None,
    attempts: int = 8,
) -> tuple[list[Reply], Spent]:
    """Through batches; `give_up_after` seconds the client is cancelled, as by a crash."""

    async def go() -> tuple[list[Reply], Spent]:
        with Ledger(book) as ledger:
            transport = BatchTransport(
                server.url, ledger, KEY_ENV, poll_every=0.02, linger=0.02, first_pause=0.001
            )
            limits = LimitSection(max_concurrency=MOST_REQUESTS, adapt=False)
            endpoint = Endpoint(MODEL, transport, limits, Price(input=1, output=1), 60.0)
            budget = Budget.continued(Budget().ceilings, ledger.spent())
            async with Client(ledger, [endpoint], budget, first_pause=0.01, attempts=attempts) as client:
                try:
                    async with asyncio.timeout(give_up_after):
                        await client.each(asked, client.ask)
                except TimeoutError:
                    pass
            return [await ledger.ask(request) for request in asked], ledger.spent()

    return asyncio.run(go())


def answer_of(server: FakeServer, request: Request) -> str:
    body = {"model": MODEL, "messages": list(request.messages), **request.params}
    return completion(body, echo(body, digest_of(request)))["choices"][0]["message"]["content"]


def test_results_are_joined_on_their_id_whatever_their_order(tmp_path: Path) -> None:
    with FakeServer() as server:
        asked = requests(server.url, 40)
        replies, spent = ask(server, tmp_path / "l.sqlite", asked)
        assert [reply.text for reply in replies] == [answer_of(server, request) for request in asked]
    assert len(server.batches) == 1 and not server.seen
    assert spent.usd == pytest.approx(sum(r.usage.total for r in replies if r.usage) / 1e6)


def test_what_failed_or_expired_is_asked_again_and_nothing_else(tmp_path: Path) -> None:
    """Of the first batch a third fails with 500, a third expires; the second batch holds these alone."""

    def script(server: FakeServer, lines: Lines) -> tuple[Lines, Lines, str]:
        if len(server.batches) > 1:
            return [good_line(server, line) for line in lines], [], "completed"
        broken = {"response": {"status_code": 500, "body": {"error": {"message": "oops"}}}, "error": None}
        late = {"response": None, "error": {"code": "batch_expired", "message": "expired"}}
        bad = [{"custom_id": line["custom_id"], **broken} for line in lines[10:20]]
        bad += [{"custom_id": line["custom_id"], **late} for line in lines[20:]]
        return [good_line(server, line) for line in lines[:10]], bad, "expired"

    with FakeServer() as server:
        server.batch_script = script
        replies, spent = ask(server, tmp_path / "l.sqlite", requests(server.url, 30))
    assert all(reply.failure is None for reply in replies)
    assert set(server.answered.values()) == {1}
    assert len(server.batches) >= 2
    assert spent.lost_tokens == 0


def test_a_model_that_wants_max_completion_tokens_gets_it_in_the_second_batch(tmp_path: Path) -> None:
    """The first batch comes back as 400s and costs nothing; every line of the second has the other name."""

    def script(server: FakeServer, lines: Lines) -> tuple[Lines, Lines, str]:
        said = {"code": "unsupported_parameter", "message": REFUSED}
        refused = {"response": {"status_code": 400, "body": {"error": said}}, "error": None}
        old = [line for line in lines if "max_tokens" in line["body"]]
        good = [good_line(server, line) for line in lines if "max_completion_tokens" in line["body"]]
        return good, [{"custom_id": line["custom_id"], **refused} for line in old], "completed"

    with FakeServer() as server:
        server.batch_script = script
        replies, spent = ask(server, tmp_path / "l.sqlite", requests(server.url, 12))
    assert all(reply.failure is None and reply.text for reply in replies)
    assert len(server.batches) == 2 and set(server.answered.values()) == {1}
    assert spent.lost_tokens == 0


def test_a_refused_batch_says_why(tmp_path: Path) -> None:
    def script(server: FakeServer, lines: Lines) -> tuple[Lines, Lines, str]:
        for batch in server.batches.values():
            batch["errors"] = {"object": "list", "data": [{"code": "x", "message": "no such model"}]}
        return [], [], "failed"

    with FakeServer() as server:
        server.batch_script = script
        with pytest.raises(Stopped, match="no such model"):
            ask(server, tmp_path / "l.sqlite", requests(server.url, 3))


def test_a_line_separator_inside_an_answer_ends_no_line(tmp_path: Path) -> None:
    with FakeServer(answer=lambda body, digest: "one\u2028two\x85three") as server:
        (reply,), _ = ask(server, tmp_path / "l.sqlite", requests(server.url, 1))
    assert reply.text == "one\u2028two\x85three"


BROKEN_LINES = {
    "raw U+2028": (lambda line: line.replace(b" w", "\u2028w".encode(), 1), None),
    "surrogate": (lambda line: line.replace(b'"content": "', b'"content": "\\ud83d '), "invalid_text"),
    "not utf-8": (lambda line: line.replace(b'"content": "', b'"content": "\xff'), "invalid_json"),
    "torn": (lambda line: line[: len(line) // 2], "invalid_json"),
    "deep": (lambda line: b'{"custom_id":' + b"[" * 1000 + b"]" * 1000 + b"}", "invalid_json"),
    "usage": (lambda line: line.replace(b'"prompt_tokens": 6', b'"prompt_tokens": 1e999'), None),
    "no body": (lambda line: line.replace(b'"body"', b'"bod"'), "invalid_json"),
    "odd response": (
        lambda line: line.replace(b'"response": {', b'"response": [1, {').replace(
            b'}, "error"', b'}], "error"'
        ),
        "server",
    ),
    "error in 200": (lambda line: line.replace(b'"choices"', b'"error": {"code": 500}, "choices"'), "server"),
}


@pytest.mark.parametrize("case", BROKEN_LINES)
def test_a_line_that_cannot_be_read_fails_alone(tmp_path: Path, case: str) -> None:
    """The first of six lines is broken in every batch; the other five answers are kept."""
    craft, kind = BROKEN_LINES[case]

    def edit(content: bytes) -> bytes:
        first, rest = content.split(b"\n", 1)
        assert craft(first) != first
        return craft(first) + b"\n" + rest

    with FakeServer() as server:
        server.edit_results = edit
        replies, spent = ask(server, tmp_path / "l.sqlite", requests(server.url, 6), attempts=1)
    failures = [reply.failure for reply in replies if reply.failure]
    assert failures == ([kind] if kind else [])
    assert all(reply.detail for reply in replies if reply.failure)
    assert (spent.lost_tokens > 0) == (kind in ("invalid_json", "server"))
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert not ledger.batches()


@pytest.mark.parametrize("lost_id", [False, True])
def test_a_batch_is_found_again_after_a_crash_and_not_bought_twice(tmp_path: Path, lost_id: bool) -> None:
    """`lost_id`: the process died between the server's making of the batch and the note of its id."""
    book = tmp_path / "l.sqlite"
    with FakeServer() as server:
        server.hold_batches = True
        asked = requests(server.url, 12)
        replies, _ = ask(server, book, asked, give_up_after=1.0)
        assert {reply.failure for reply in replies} == {"missing"} and len(server.batches) == 1
        if lost_id:
            [made] = server.batches.values()
            with Ledger(book) as ledger:
                ledger.batch([r.key for r in asked], f"{batches.UNSENT}{made['metadata'][batches.MARK]}")
        server.hold_batches = False
        replies, spent = ask(server, book, [*asked, *requests(server.url, 15)[12:]])
        used = sum(reply.usage.total for reply in replies if reply.usage)
    assert all(reply.failure is None for reply in replies)
    assert len(server.batches) == 2  # the old one, and one for the three new requests
    assert set(server.answered.values()) == {1}
    with Ledger(book) as ledger:
        assert not ledger.batches()
        assert ledger.spent() == spent
    assert (spent.requests, spent.tokens, spent.lost_tokens) == (15, used, 0)


@pytest.mark.parametrize("route", ["POST files", "POST batches"])
def test_a_server_that_takes_no_batch_ends_the_run_and_costs_nothing(tmp_path: Path, route: str) -> None:
    book, tried = tmp_path / "l.sqlite", []

    def down(asked: str) -> str | None:
        tried.append(asked)
        return "before" if asked == route else None

    with FakeServer() as server:
        server.batch_fault = down
        with pytest.raises(
            Stopped, match=r"no batch could be sent, after 8 attempts \(server: HTTP 503: down"
        ):
            ask(server, book, requests(server.url, 5))
        assert tried.count(route) == ATTEMPTS
        with Ledger(book) as ledger:
            assert (ledger.spent().requests, ledger.spent().tokens) == (0, 0)
        server.batch_fault = lambda asked: None
        replies, spent = ask(server, book, requests(server.url, 5))
    assert all(reply.failure is None for reply in replies)
    assert (spent.requests, spent.lost_tokens) == (5, 0)


def test_no_server_at_all_ends_a_batch(tmp_path: Path) -> None:
    with FakeServer() as server:
        pass
    with pytest.raises(Stopped, match="no connection"):
        ask(server, tmp_path / "l.sqlite", requests(server.url, 2))


def test_a_batch_whose_creation_was_answered_by_an_error_is_not_created_twice(tmp_path: Path) -> None:
    faults = {"POST batches": ["after"]}
    with FakeServer() as server:
        server.batch_fault = lambda asked: faults[asked].pop() if faults.get(asked) else None
        replies, _ = ask(server, tmp_path / "l.sqlite", requests(server.url, 3))
    assert all(reply.failure is None for reply in replies)
    assert len(server.batches) == 1


def test_polling_survives_a_server_that_fails_for_long_and_prints_the_first_failure(tmp_path: Path) -> None:
    """It is printed while the batch is waited for: three failures later, the batch is still there."""
    printed = io.StringIO()
    seen: list[str] = []

    def fails(asked: str) -> str | None:
        if not asked.startswith("GET batches/") or len(seen) > 2 * ATTEMPTS:
            return None
        seen.append(printed.getvalue())
        return "before"

    with FakeServer() as server:
        server.batch_fault = fails
        with Session(
            tmp_path / "l.sqlite", [section(server.url, batch=True)], console=Console(file=printed)
        ) as asking:
            [transport] = [endpoint.transport for endpoint in asking.endpoints]
            transport.poll_every = transport.linger = 0.01  # type: ignore[attr-defined]
            replies = asking.complete(requests(server.url, 3))
    assert all(reply.failure is None for reply in replies) and len(server.batches) == 1
    assert seen[0] == "" and seen[-1].count("first server: HTTP 503: down for repairs") == 1


@pytest.mark.parametrize("answered", [0, 4])
@pytest.mark.parametrize("lines", [False, True])
def test_a_batch_that_somebody_cancelled_is_bought_again_by_the_next_run_alone(
    tmp_path: Path, answered: int, lines: bool
) -> None:
    """`lines`: the server writes a line for each request that it did not send."""

    def script(server: FakeServer, asked: Lines) -> tuple[Lines, Lines, str]:
        error = {"code": "batch_cancelled", "message": "cancelled"}
        left = [
            {"custom_id": line["custom_id"], "response": None, "error": error} for line in asked[answered:]
        ]
        return [good_line(server, line) for line in asked[:answered]], left if lines else [], "cancelled"

    book = tmp_path / "l.sqlite"
    with FakeServer() as server:
        server.batch_script = script
        asked = requests(server.url, 10)
        with pytest.raises(Stopped, match="batch_0 was cancelled at the server; another run sends the rest"):
            ask(server, book, asked)
        assert len(server.batches) == 1
        with Ledger(book) as ledger:
            assert ledger.spent().requests == answered and ledger.spent().lost_tokens == 0
        server.batch_script = None
        replies, spent = ask(server, book, asked)
    assert all(reply.failure is None for reply in replies)
    assert len(server.batches) == 2 and len(_lines(server, server.batches["batch_1"])) == 10 - answered
    assert (spent.requests, spent.lost_tokens) == (10, 0)


def test_batches_are_cut_where_the_server_would_refuse_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_REQUESTS", 4)
    with FakeServer() as server:
        replies, _ = ask(server, tmp_path / "l.sqlite", requests(server.url, 10))
    assert sorted(len(_lines(server, b)) for b in server.batches.values()) == [2, 4, 4]
    assert all(reply.failure is None for reply in replies)


def _lines(server: FakeServer, batch: dict[str, Any]) -> list[bytes]:
    return server.files[batch["input_file_id"]].splitlines()
