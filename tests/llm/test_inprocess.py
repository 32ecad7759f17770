"""The model in this process as a transport: the same answers in any company, cut short ones marked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from boresight.core.errors import UserError
from boresight.llm.budget import Budget
from boresight.llm.client import Client, Endpoint
from boresight.llm.ledger import Ledger
from boresight.llm.rate_limits import LimitSection
from boresight.llm.replies.reply import Reply
from boresight.llm.request import Request
from boresight.llm.transports.inprocess import IN_PROCESS, InProcessTransport
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer("chatml")
    tokenizer.save_pretrained(folder)
    tiny_model("qwen2", vocab=len(tokenizer)).save_pretrained(folder)
    return str(folder)


def ask(model: str, book: Path, requests: list[Request], batch: int = 64) -> list[Reply]:
    async def go() -> list[Reply]:
        with Ledger(book) as ledger:
            limits = LimitSection(max_concurrency=batch, start_concurrency=batch)
            endpoint = Endpoint(model, InProcessTransport(model, batch), limits, None, 1e6)
            async with Client(ledger, [endpoint], Budget()) as client:
                await client.each(requests, client.ask)
            return [await ledger.ask(request) for request in requests]

    return asyncio.run(go())


def requests(model: str, prompts: int, samples: int, **params: object) -> list[Request]:
    settings = {"max_tokens": 6, "temperature": 1.0, **params}
    return [
        Request(IN_PROCESS, model, [{"role": "user", "content": f"Say {p}."}], settings, sample=s)
        for p in range(prompts)
        for s in range(samples)
    ]


def test_what_is_drawn_depends_on_the_request_and_not_on_its_company(model: str, tmp_path: Path) -> None:
    asked = requests(model, prompts=3, samples=2)
    together = ask(model, tmp_path / "a.sqlite", asked)
    apart = ask(model, tmp_path / "b.sqlite", asked[::-1], batch=1)[::-1]
    assert [reply.text for reply in together] == [reply.text for reply in apart]
    assert len({reply.text for reply in together}) > 3


def test_what_reaches_the_limit_is_truncated_and_tokens_are_counted(model: str, tmp_path: Path) -> None:
    replies = ask(model, tmp_path / "a.sqlite", requests(model, 4, 1, max_tokens=2))
    assert {reply.failure for reply in replies} <= {None, "truncated"}
    assert "truncated" in {reply.failure for reply in replies}
    assert all(reply.usage and reply.usage.completion <= 2 for reply in replies)


def test_a_prompt_beyond_the_context_fails_alone(model: str, tmp_path: Path) -> None:
    long = Request(IN_PROCESS, model, [{"role": "user", "content": "red " * 600}], {"max_tokens": 6})
    short, failed = ask(model, tmp_path / "a.sqlite", [*requests(model, 1, 1), long])
    assert short.failure in (None, "truncated") and short.text
    assert failed.failure == "bad_request"


def test_an_unknown_parameter_is_an_error(model: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not know min_p"):
        ask(model, tmp_path / "a.sqlite", requests(model, 1, 1, min_p=0.1))
