"""What a response is taken to have cost when a server reports no usage, or one that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="the client needs the extra [api]")

from boresight.llm.budget import BudgetSection
from boresight.llm.ledger import Ledger
from boresight.llm.rate_limits import LimitSection
from boresight.llm.replies.reply import Reply, Usage
from boresight.llm.replies.usage import UNSEEN, counted
from boresight.llm.request import Request
from tests.llm.fake_server import FakeServer
from tests.llm.helpers import requests, run

ASKED = Request("http://x/v1", "m", [{"role": "user", "content": "a" * 30}], {"max_tokens": 100})
"""30 bytes: 10 tokens of text and 16 around it are reserved; 4 tokens at least."""
TEXT = "b" * 80
"""10 tokens at least, 80 at most."""
SAFE = Usage(26, 100)


@pytest.mark.parametrize(
    ("reported", "usage", "doubt"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 20}, Usage(9, 20), ""),
        ({"prompt_tokens": 9.0, "completion_tokens": 20.0}, Usage(9, 20), ""),
        ({"prompt_tokens": 9, "total_tokens": 29}, Usage(9, 20), ""),
        ({"prompt_tokens": 4, "completion_tokens": 10}, Usage(4, 10), ""),
        ({"prompt_tokens": 3, "completion_tokens": 10}, SAFE, "fewer"),
        ({"prompt_tokens": 4, "completion_tokens": 9}, SAFE, "fewer"),
        ({"prompt_tokens": 0, "completion_tokens": 0}, SAFE, "fewer"),
        ({"prompt_tokens": -9, "completion_tokens": 20}, SAFE, "no usage"),
        ({"prompt_tokens": 9, "completion_tokens": -20}, SAFE, "no usage"),
        ({"prompt_tokens": 1e999, "completion_tokens": 20}, SAFE, "no usage"),
        ({"prompt_tokens": float("nan"), "completion_tokens": 20}, SAFE, "no usage"),
        ({"prompt_tokens": 9, "completion_tokens": 10**30}, SAFE, "no usage"),
        ({"prompt_tokens": 9, "completion_tokens": 20.5}, SAFE, "no usage"),
        ({"prompt_tokens": "9", "completion_tokens": True}, SAFE, "no usage"),
        ({"prompt_tokens": 9}, SAFE, "no usage"),
        ({}, SAFE, "none at all"),
        (None, SAFE, "none at all"),
        ([9, 20], SAFE, "no usage"),
        ({"prompt_tokens": 9, "completion_tokens": 100 + UNSEEN}, Usage(9, 100 + UNSEEN), ""),
        ({"prompt_tokens": 9, "completion_tokens": 101 + UNSEEN}, SAFE, "an impossible number"),
        ({"prompt_tokens": 31 + UNSEEN, "completion_tokens": 20}, SAFE, "an impossible number"),
    ],
)
def test_reported_usage_is_booked_where_it_can_be_and_the_worst_case_elsewhere(
    reported: Any, usage: Usage, doubt: str
) -> None:
    message = {"role": "assistant", "content": TEXT}
    body = {"choices": [{"finish_reason": "stop", "message": message}], "usage": reported}
    found, why = counted(ASKED, Reply.read(body))
    assert found == usage
    assert doubt in why and bool(doubt) == bool(why)


def test_an_answer_that_ignores_max_tokens_counts_a_token_a_byte() -> None:
    """1,000 characters take 125 tokens at least, more than the 100 asked for; at most one a byte."""
    assert counted(ASKED, Reply("c" * 1000))[0] == Usage(26, 1000)


@pytest.mark.parametrize("cached", [-1, 10**6, "x", None])
def test_cached_tokens_are_a_part_of_the_prompt(cached: Any) -> None:
    raw = {"prompt_tokens": 9, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": cached}}
    body = {"choices": [{"message": {"content": TEXT}}], "usage": raw}
    usage = Reply.read(body).usage
    assert usage is not None and 0 <= usage.cached <= 9


LIES: dict[str, str] = {
    "negative": '{"prompt_tokens": -1000, "completion_tokens": -1000, "total_tokens": -2000}',
    "absent": "null",
    "tiny": '{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}',
    "huge": '{"prompt_tokens": 9e99, "completion_tokens": 1e999, "total_tokens": 1e999}',
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(
    ("count", "at_once", "limit"),
    [(300, 8, 2_000), pytest.param(5_000, 64, 150_000, marks=pytest.mark.slow)],
)
def test_no_reported_usage_takes_a_run_past_its_budget(
    tmp_path: Path, lie: str, count: int, at_once: int, limit: int
) -> None:
    """The server counts honestly for itself, a word a token. A tenth of its answers ignore max_tokens."""
    honest: list[int] = []

    def respond(payload: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        if len(server.seen) % 10 == 0:
            payload["choices"][0]["message"]["content"] += " and on" * 40
        text = payload["choices"][0]["message"]["content"]
        honest.append(payload["usage"]["prompt_tokens"] + len(text.split()))
        body = json.dumps({**payload, "usage": 0}).replace('"usage": 0', f'"usage": {LIES[lie]}')
        return 200, body.encode(), {}

    limits = LimitSection(max_concurrency=at_once, start_concurrency=at_once)
    with FakeServer(respond=respond, latency=lambda n: 0.005) as server:
        _, client = run(
            server.url,
            tmp_path / "l.sqlite",
            requests(server.url, count),
            limits=limits,
            ceilings=BudgetSection(max_tokens=limit),
        )
        under_way = server.most_under_way
    longest = max(honest)
    one_response = 37 + 64 + 24 * 4 + 40 * 7  # at a token a byte
    print(
        f"\n{lie}: {len(honest):,} of {count:,} sent, {sum(honest):,} honest tokens of {limit:,}, "
        f"at most {under_way * longest + one_response:,} more allowed"
    )
    assert sum(honest) <= limit + under_way * longest + one_response
    assert client.over_budget and client.progress.estimated == len(honest)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        [(model, responses, why)] = ledger.estimates()
        assert (model, responses) == ("m", len(honest)) and why
        assert ledger.mean_completion("answers", "m") is None
