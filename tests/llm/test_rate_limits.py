"""Rates and concurrency: arithmetic by hand, then throughput against a server that keeps its own limits."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.llm.rate_limits import Bucket, Concurrency, Limits, LimitSection
from boresight.llm.replies.failures import retry_after
from tests.llm.fake_server import FakeServer
from tests.llm.helpers import requests, run


def test_a_bucket_refills_at_its_rate() -> None:
    """600 a minute is 10 a second: after the first, one every 0.1 s; capacity 10 · 0.25 = 2.5."""
    bucket = Bucket(600)
    assert bucket.wait(1, 0.0) == 0.0
    bucket.take(1, 0.0)
    assert bucket.wait(1, 0.0) == pytest.approx(0.1)
    assert bucket.wait(1, 0.1) == pytest.approx(0.0)
    assert bucket.wait(2, 100.0) == 0.0
    assert bucket.level == 2.5


def test_a_request_larger_than_the_bucket_passes_when_it_is_full_and_is_paid_off() -> None:
    """6,000 tokens a minute is 100 a second, capacity 25. 400 tokens wait for 25, and then leave -375."""
    bucket = Bucket(6000, level=0.0)
    assert bucket.wait(400, 0.0) == pytest.approx(0.25)
    bucket.take(400, 0.25)
    assert bucket.level == pytest.approx(-375)
    bucket.give_back(300, 0.25)
    assert bucket.level == pytest.approx(-75)
    assert bucket.wait(1, 0.25) == pytest.approx(0.76)


@given(
    per_minute=st.floats(1, 1e6),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
    amounts=st.lists(st.floats(0.1, 3), min_size=60, max_size=60),
)
def test_no_span_from_the_start_lets_more_through_than_its_rate_plus_one_request(
    per_minute: float, gaps: list[float], amounts: list[float]
) -> None:
    bucket, now, passed, largest = Bucket(per_minute), 0.0, 0.0, 0.0
    for gap, amount in zip(gaps, amounts, strict=False):
        now += gap
        if bucket.wait(amount, now) == 0:
            bucket.take(amount, now)
            passed, largest = passed + amount, max(largest, amount)
        assert passed <= now * per_minute / 60 + 1 + largest + 1e-6 * passed


def test_concurrency_doubles_a_round_until_the_first_refusal_and_then_grows_by_one() -> None:
    c = Concurrency(4, most=100)
    for _ in range(4):
        c.succeeded(0.0, 1.0, 50, under_way=4)
    assert c.allowed == 8
    c.refused(started=1.0, now=2.0)
    assert c.limit == 6.0
    for sent in (1.0, 1.5, 2.0):  # the same burst: sent before the cut
        c.refused(started=sent, now=2.1)
    assert c.limit == 6.0
    for _ in range(6):
        c.succeeded(2.5, 3.5, 50, under_way=6)
    assert c.limit == pytest.approx(7.0, abs=0.1)


def test_concurrency_that_is_not_in_use_does_not_grow() -> None:
    c = Concurrency(8, most=100)
    c.succeeded(0.0, 1.0, 50, under_way=3)
    assert c.limit == 8


def test_a_round_twice_as_slow_per_token_cuts_by_a_tenth() -> None:
    """Eight calls of 50 tokens at 1 s, then eight at 2.1 s; long answers at the same pace are no sign."""
    c = Concurrency(8, most=8)
    for _ in range(8):
        c.succeeded(0.0, 1.0, 50, under_way=8)
    for _ in range(8):
        c.succeeded(0.0, 10.0, 950, under_way=8)  # 1,000 token-equivalents in 10 s, as 100 in 1 s
    assert c.limit == 8
    for _ in range(8):
        c.succeeded(0.0, 2.1, 50, under_way=8)
    assert c.limit == pytest.approx(7.2)


def test_a_lasting_slowdown_becomes_the_normal_pace() -> None:
    """Pace 0.01 s a token, then 0.021 for ever. The best drifts up by 2 % a round: twice of it is 0.0204,
    0.0208 and 0.0212, so two rounds cut, to 0.9 · 8 and 0.81 · 8, and the third does not."""
    c = Concurrency(8, most=8)
    for _ in range(8):
        c.succeeded(0.0, 1.0, 50, under_way=0)
    limits = []
    for _ in range(4):
        for _ in range(8):
            c.succeeded(0.0, 2.1, 50, under_way=0)
        limits.append(c.limit)
    assert limits == pytest.approx([7.2, 6.48, 6.48, 6.48])


@pytest.mark.parametrize(("counts", "wait"), [("used", 0.0), ("requested", 0.24)])
def test_a_server_that_counts_what_was_requested_gives_nothing_back(counts: str, wait: float) -> None:
    """6,000 tokens a minute, 100 a second: the bucket holds 25. A request of 25 takes all and uses 1.

    Where only that one counts, 24 come back at once and pass again; otherwise they need 0.24 s.
    """
    limits = Limits(LimitSection(tpm=6000, tpm_counts=counts))
    assert limits.tokens is not None
    limits.tokens.level = 25.0
    limits.take(25, 0.0)
    limits.used(25, 1, 0.0)
    assert limits.wait(24, 0.0, under_way=0) == pytest.approx(wait)


def test_the_pace_of_a_round_is_seconds_per_token_of_all_its_calls() -> None:
    """Each call counts 50 tokens besides its own: 8 calls of 50 tokens, 1 s each, are 8 s / 800 = 0.01.

    The next round starts from nothing: 8 calls of half a second are 4 s / 800. A round has 8 calls, or as
    many as are allowed.
    """
    c = Concurrency(8, most=64)
    for started in range(8):
        c.succeeded(float(started), started + 1.0, 50, under_way=0)
    assert c.best == 0.01 and c.round_left == 8
    for _ in range(8):
        c.succeeded(3.0, 3.5, 50, under_way=0)
    assert c.best == 0.005
    wide = Concurrency(20, most=64)
    for _ in range(8):
        wide.succeeded(0.0, 1.0, 50, under_way=0)
    assert wide.round_left == 20


def test_a_limit_that_is_half_in_use_grows() -> None:
    c = Concurrency(8, most=100)
    c.succeeded(0.0, 1.0, 50, under_way=4)
    assert c.limit == 9
    limits = Limits(LimitSection(start_concurrency=8))
    limits.succeeded(0.0, 1.0, 50, under_way=4)
    assert limits.concurrency.limit == 9


def test_defaults_and_the_smallest_limits_that_are_taken() -> None:
    assert (LimitSection().max_concurrency, LimitSection().start_concurrency) == (64, 8)
    smallest = LimitSection(rpm=0.5, tpm=0.5, max_concurrency=1, start_concurrency=1)
    assert Limits(smallest).concurrency.allowed == 1
    assert Bucket(60).capacity == 1.0  # a quarter of a request would never pass


def test_one_request_waits_for_one_and_a_pause_ends_when_the_server_said() -> None:
    """600 a minute: the bucket starts with one request, so the first goes at once."""
    assert Limits(LimitSection(rpm=600)).wait(10, 0.0, under_way=0) == 0.0
    limits = Limits(LimitSection())
    limits.refused(started=0.0, now=1.0, retry_after=4.0)
    assert limits.wait(10, 2.0, under_way=0) == pytest.approx(3.0)
    limits.refused(started=0.0, now=1.5, retry_after=0.1)
    assert limits.wait(10, 2.0, under_way=0) == pytest.approx(3.0), "the later end of two pauses holds"


def test_concurrency_never_falls_below_one() -> None:
    c = Concurrency(2, most=8)
    for now in range(1, 50):
        c.refused(started=now - 0.5, now=float(now))
    assert c.allowed == 1 and c.limit == 1.0


def test_a_fixed_concurrency_stays_as_it_is() -> None:
    limits = Limits(LimitSection(max_concurrency=50, adapt=False))
    limits.refused(started=0.0, now=1.0, retry_after=None)
    for seconds in range(1, 40):
        limits.succeeded(0.0, float(seconds), 10, under_way=50)
    assert limits.concurrency.allowed == 50


def test_limits_wait_for_the_slowest_of_all() -> None:
    """60 a minute: the second request waits 1 s; a Retry-After of 5 s waits longer; no place, for ever."""
    limits = Limits(LimitSection(rpm=60, start_concurrency=2))
    limits.take(10, 0.0)
    assert limits.wait(10, 0.0, under_way=1) == pytest.approx(1.0)
    limits.refused(started=0.0, now=0.0, retry_after=5.0)
    assert limits.wait(10, 0.0, under_way=0) == pytest.approx(5.0)
    assert math.isinf(limits.wait(10, 9.0, under_way=1))  # 2 · 0.75 = 1.5: one place


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Mon, 01 Jan 2024 00:00:30 GMT"}, 30.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, lambda: datetime(2024, 1, 1, tzinfo=UTC)) == seconds


# --- against a server, slow enough for a busy machine; benchmarks/synthesize.py measures whole minutes --


def test_a_server_limit_on_requests_is_used_and_not_passed(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="the client needs the extra [api]")
    rpm = 1200
    with FakeServer(rpm=rpm, latency=lambda n: 0.02) as server:
        run(server.url, tmp_path / "l.sqlite", requests(server.url, 50), limits=LimitSection(rpm=rpm))
    span = server.seen[-1].at - server.seen[0].at
    allowed = span * rpm / 60
    assert 0.9 * allowed <= 49 <= allowed + 0.01 * rpm
    assert server.outcomes()["429"] <= 1


def test_a_server_limit_on_tokens_is_used_and_not_passed(tmp_path: Path) -> None:
    """Requests reserve 20 + 32 tokens and use about 20: what is not used is used by others."""
    pytest.importorskip("openai", reason="the client needs the extra [api]")
    tpm = 24_000
    with FakeServer(tpm=tpm, latency=lambda n: 0.02) as server:
        run(server.url, tmp_path / "l.sqlite", requests(server.url, 50), limits=LimitSection(tpm=tpm))
    span = server.seen[-1].at - server.seen[0].at
    used = sum(seen.tokens for seen in server.seen[1:] if seen.outcome == "ok")
    allowed = span * tpm / 60
    assert 0.9 * allowed <= used <= allowed + 0.01 * tpm
    assert server.outcomes()["429"] <= 1
