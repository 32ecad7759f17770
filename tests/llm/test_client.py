"""The client against a real server: every fault, limits, budget, keys."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="the client needs the extra [api]")

from boresight.llm.budget import BudgetSection, Price
from boresight.llm.client import Stopped
from boresight.llm.endpoint import EndpointSection
from boresight.llm.ledger import Ledger
from boresight.llm.rate_limits import CUT, LATENCY_CUT, Concurrency, LimitSection
from boresight.llm.session import Session
from tests.llm.fake_server import FakeServer, some
from tests.llm.helpers import KEY, KEY_ENV, MODEL, requests, run, stored


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_every_request_is_answered_once_and_never_again(book: Path) -> None:
    with FakeServer() as server:
        asked = requests(server.url, 50)
        first, client = run(server.url, book, asked)
        again, cached = run(server.url, book, [*asked, *requests(server.url, 51)[50:]])
    assert all(reply.failure is None and reply.text for reply in first)
    assert again[:50] == first
    assert (client.progress.answered, client.progress.cached) == (50, 0)
    assert (cached.progress.answered, cached.progress.cached) == (1, 50)  # one row more buys one
    assert set(server.answered.values()) == {1}


def test_two_equal_requests_at_once_are_bought_once(book: Path) -> None:
    with FakeServer(latency=lambda n: 0.05) as server:
        replies, _ = run(server.url, book, requests(server.url, 1) * 8)
    assert len(server.seen) == 1
    assert len({reply.text for reply in replies}) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429", "rate_limit"),
        ("500", "server"),
        ("drop", "server"),
        ("stall", "timeout"),
        ("garbage", "invalid_json"),
        ("half", "invalid_json"),
    ],
)
def test_bad_luck_is_counted_and_tried_again(book: Path, fault: str, kind: str) -> None:
    with FakeServer(faults=some({fault: 1.0})) as server:
        replies, client = run(
            server.url, book, requests(server.url, 6), timeout=2.0 if fault == "stall" else 30.0
        )
    assert all(reply.failure is None for reply in replies)
    assert client.progress.failures == {kind: 6}


def test_what_failed_is_sent_again_among_the_others_and_not_after_them(book: Path) -> None:
    """A fifth fails once; four at a time, their second attempts lie between the others' first."""
    limits = LimitSection(start_concurrency=4, max_concurrency=4, adapt=False)
    with FakeServer(faults=some({"500": 0.2}), latency=lambda n: 0.002) as server:
        replies, _ = run(server.url, book, requests(server.url, 300), limits=limits)
    attempts = [seen.attempt for seen in server.seen]
    last_first = max(place for place, attempt in enumerate(attempts) if attempt == 1)
    among = attempts[:last_first].count(2)
    assert all(reply.failure is None for reply in replies)
    assert attempts.count(2) >= 30 and among >= 0.8 * attempts.count(2)


def test_a_server_that_wants_max_completion_tokens_gets_it_from_the_first_refusal_on(book: Path) -> None:
    """Four go out at first and are refused; the ledger knows the request by one name, whatever is sent."""
    limits = LimitSection(start_concurrency=4, adapt=False, max_concurrency=4)
    with FakeServer(modern=True, latency=lambda n: 0.02) as server:
        asked = requests(server.url, 20)
        replies, client = run(server.url, book, asked, limits=limits)
        again, cached = run(server.url, book, asked, limits=limits)
    assert all(reply.failure is None and reply.text for reply in replies) and again == replies
    assert client.progress.failures == {"token_limit": 4}
    assert server.outcomes() == {"other limit": 4, "ok": 20}
    assert "max_completion_tokens" in client.progress.first_failure["token_limit"]
    assert (cached.progress.answered, cached.progress.cached) == (0, 20)


def test_a_limit_named_beforehand_is_never_refused(book: Path) -> None:
    with FakeServer(modern=True) as server:
        replies, client = run(server.url, book, requests(server.url, 6), token_limit="max_completion_tokens")
    assert all(reply.failure is None for reply in replies) and not client.progress.failures


@pytest.mark.parametrize(
    ("fault", "kind"), [("refusal", "refusal"), ("filter", "content_filter"), ("length", "truncated")]
)
def test_an_unusable_answer_is_kept_and_not_bought_again(book: Path, fault: str, kind: str) -> None:
    with FakeServer(faults=some({fault: 1.0})) as server:
        asked = requests(server.url, 4)
        run(server.url, book, asked)
        replies, _ = run(server.url, book, asked)
    assert [reply.failure for reply in replies] == [kind] * 4
    assert len(server.seen) == 4


def test_a_request_that_keeps_failing_is_given_up_with_its_reason_and_tried_by_the_next_run(
    book: Path,
) -> None:
    with FakeServer(faults=some({"500": 1.0}, attempts=3)) as server:
        asked = requests(server.url, 2)
        given_up, _ = run(server.url, book, asked, attempts=2)
        second, _ = run(server.url, book, asked, attempts=2)
    assert [reply.failure for reply in given_up] == ["server"] * 2
    assert "HTTP 500" in given_up[0].detail
    assert [reply.failure for reply in second] == [None] * 2


def test_one_bad_row_is_one_failure_and_not_a_stop(book: Path) -> None:
    with FakeServer() as server:
        asked = requests(server.url, 20)
        run(server.url, book, asked[:10])
        server.faults = some({"400": 1.0}, attempts=99)
        replies, _ = run(server.url, book, asked[9:])
    assert [reply.failure for reply in replies] == [None] + ["bad_request"] * 10


@pytest.mark.parametrize(("fault", "said"), [("quota", "no money left"), ("400", "context length")])
def test_what_no_repetition_helps_stops_at_once(book: Path, fault: str, said: str) -> None:
    faults, limits = some({fault: 1.0}, attempts=99), LimitSection(start_concurrency=4)
    with FakeServer(faults=faults) as server, pytest.raises(Stopped, match=rf"127\.0\.0\.1.*{said}"):
        run(server.url, book, requests(server.url, 500), limits=limits)
    assert len(server.seen) <= 8


def test_a_refused_key_stops_at_once_and_is_nowhere_to_be_found(
    book: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The server quotes the key in its error, as some do."""
    caplog.set_level("DEBUG")
    with FakeServer(key="another") as server, pytest.raises(Stopped, match=KEY_ENV) as stopped:
        run(server.url, book, requests(server.url, 3))
    assert any(f"Bearer {KEY}" in h.get("authorization", "") for h in server.headers)  # it was sent
    out, err = capfd.readouterr()
    everywhere = [str(stopped.value), repr(stopped.value), caplog.text, out, err]
    everywhere += [file.read_bytes().decode("latin-1") for file in book.parent.rglob("*") if file.is_file()]
    assert not any(KEY in text for text in everywhere)


@pytest.mark.parametrize("key", ["word", KEY])
def test_an_answer_with_the_characters_of_the_key_is_kept_as_it_is(
    book: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_ENV, key)
    with FakeServer(answer=lambda body, digest: f"In a {key}, no; a swordfish, a word.") as server:
        replies, _ = run(server.url, book, requests(server.url, 1))
    assert replies[0].text == f"In a {key}, no; a swordfish, a word."


def test_an_endpoint_that_only_stalls_stops_the_run_and_keeps_what_was_there(book: Path) -> None:
    with FakeServer() as server:
        asked = requests(server.url, 20)
        run(server.url, book, asked[:5])
        server.faults = some({"stall": 1.0}, attempts=99)
        with pytest.raises(Stopped, match=r"answered nothing for 0\.4 s"):
            run(server.url, book, asked, stuck_after=0.4, timeout=5.0)
    assert len(stored(book)) == 5


def test_an_api_that_stalls_beside_a_model_in_this_process_stops_the_run_too(book: Path) -> None:
    """Only the model, and a batch, may take as long as they take."""
    here, faults = EndpointSection(model="starter"), some({"stall": 1.0}, attempts=99)
    with FakeServer(faults=faults) as server:
        there = EndpointSection(model=MODEL, base_url=server.url, key_env=KEY_ENV, timeout=1.0)
        with (
            Session(book, [here, there], stuck_after=0.4) as session,
            pytest.raises(Stopped, match=r"answered nothing for 0\.4 s"),
        ):
            session.complete(requests(server.url, 3))
    assert [e.slow for e in session.endpoints] == [True, False]


def test_retry_after_holds_everything_back(book: Path) -> None:
    """The first request is refused for a second; nothing may arrive before that is over."""
    with FakeServer(faults=lambda digest, attempt: "429" if len(server.seen) == 0 else None) as server:
        server.retry_after = "1"
        run(server.url, book, requests(server.url, 5), limits=LimitSection(start_concurrency=1))
    waits = [seen.at - server.seen[0].at for seen in server.seen[1:]]
    assert len(waits) == 5 and min(waits) >= 0.99


def test_the_budget_is_reserved_before_sending_and_continued_by_the_next_run(book: Path) -> None:
    """A worst case is 25 + 32 tokens at most; what comes back is smaller, and room is found for more."""
    with FakeServer(latency=lambda n: 0.01) as server:
        asked = requests(server.url, 100)
        ceilings = BudgetSection(max_tokens=1000)
        _, client = run(server.url, book, asked, ceilings=ceilings)
        used = sum(seen.tokens for seen in server.seen)
        sent = len(server.seen)
        replies, _ = run(server.url, book, asked, ceilings=ceilings)
        assert used <= 1000 and used > 1000 - 2 * 60  # drained: no room for another worst case
        assert len(server.seen) == sent  # the same ceiling buys nothing more
        assert {reply.failure for reply in replies} == {None, "missing"}
        run(server.url, book, asked, ceilings=BudgetSection(max_tokens=100_000))
    assert "max_tokens = 1,000" in (client.over_budget or "")
    assert len(server.answered) == 100 and set(server.answered.values()) == {1}


def test_dollars_are_counted_at_the_price_and_requests_one_by_one(book: Path) -> None:
    with FakeServer() as server:
        price = Price(input=1000, output=2000)
        ceilings = BudgetSection(max_requests=7)
        _, client = run(server.url, book, requests(server.url, 20), price=price, ceilings=ceilings)
        expected = sum((6 * 1000 + (seen.tokens - 6) * 2000) / 1e6 for seen in server.seen)  # 6 words asked
    with Ledger(book) as ledger:
        assert ledger.spent().requests == len(server.seen) == 7
        assert ledger.spent().usd == pytest.approx(expected) == pytest.approx(client.budget.usd)


def test_what_may_have_been_billed_stays_on_the_account(book: Path) -> None:
    """One timed-out attempt of 25 + 32 tokens at most, and one answer."""
    with FakeServer(faults=some({"stall": 1.0})) as server:
        asked = requests(server.url, 1)
        run(server.url, book, asked, timeout=0.2)
        used = server.seen[-1].tokens
    with Ledger(book) as ledger:
        spent = ledger.spent()
    assert spent.lost_tokens == asked[0].prompt_tokens + 32
    assert spent.tokens == spent.lost_tokens + used


def test_a_server_that_is_not_there_costs_nothing(book: Path) -> None:
    with FakeServer() as server:
        url = server.url
    replies, client = run(url, book, requests(url, 2), attempts=2)
    assert [reply.failure for reply in replies] == ["server"] * 2 and "no connection" in replies[0].detail
    with Ledger(book) as ledger:
        spent = ledger.spent()
    assert (spent.requests, spent.tokens, spent.lost_tokens, client.budget.tokens) == (4, 0, 0, 0)


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> set[float]:
    """Factors that concurrency is cut by in a test."""
    factors: set[float] = set()
    cut = Concurrency._cut

    def watched(self: Concurrency, factor: float, now: float) -> None:
        factors.add(factor)
        cut(self, factor, now)

    monkeypatch.setattr(Concurrency, "_cut", watched)
    return factors


def test_a_server_that_slows_down_without_refusing_gets_less_at_a_time(book: Path, cuts: set[float]) -> None:
    """Above 8 at a time every call takes longer in proportion, as on a GPU server without a limit."""
    with FakeServer(latency=lambda n: 0.004 * max(1, n / 8) ** 2) as server:
        limits = LimitSection(max_concurrency=256)
        run(server.url, book, requests(server.url, 500), limits=limits)
    assert cuts == {LATENCY_CUT}
    assert server.most_under_way < 200  # a client that only refusals slow down reaches all 256


def test_a_burst_of_refusals_cuts_concurrency_and_loses_nothing(book: Path, cuts: set[float]) -> None:
    def burst(digest: str, attempt: int) -> str | None:
        return "429" if 40 <= len(server.seen) < 60 else None

    with FakeServer(faults=burst) as server:
        replies, _ = run(server.url, book, requests(server.url, 200))
    assert all(reply.failure is None for reply in replies)
    assert cuts and cuts <= {CUT, LATENCY_CUT}
    assert server.outcomes()["429"] == 20


def test_the_ledger_is_write_ahead_and_holds_the_body_as_it_came(book: Path) -> None:
    with FakeServer() as server:
        [asked] = requests(server.url, 1)
        run(server.url, book, [asked])
    with Ledger(book) as ledger:
        body = ledger.get(asked.key)
        assert body is not None and body["id"] == "chatcmpl-1"
    assert stored(book)[asked.key]["messages"] == list(asked.messages)
    assert sqlite3.connect(book).execute("PRAGMA journal_mode").fetchone() == ("wal",)
