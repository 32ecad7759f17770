"""Answers that must be JSON: extracted, validated, asked again with the error, replayed for nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

pytest.importorskip("openai", reason="the client needs the extra [api]")

from boresight.llm.client import Client, Endpoint
from boresight.llm.ledger import Ledger
from boresight.llm.replies.json_text import extract_json
from boresight.llm.structured import Parsed, ask_for, read_shape, strict_schema
from boresight.llm.transports.openai import OpenAITransport
from tests.llm.fake_server import FakeServer
from tests.llm.helpers import KEY_ENV, MODEL, requests


class Rating(BaseModel):
    score: int = Field(ge=1, le=5)
    reason: str


def ask(server: FakeServer, book: Path) -> tuple[Parsed[Rating], Parsed[Rating]]:
    """Through the client, and again from the ledger alone."""

    async def both() -> tuple[Parsed[Rating], Parsed[Rating]]:
        [request] = requests(server.url, 1)
        with Ledger(book) as ledger:
            async with Client(ledger, [Endpoint(MODEL, OpenAITransport(server.url, KEY_ENV))]) as client:
                bought = await ask_for(client, request, Rating)
            return bought, await ask_for(ledger, request, Rating)

    return asyncio.run(both())


def test_a_wrong_answer_is_asked_again_with_the_error_in_words(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def answer(body: dict[str, Any], digest: str) -> str:
        seen.append(body)
        said = [
            "Well, it depends.",
            'Sure: {"score": 9, "reason": "x"}',
            '```json\n{"score": 4, "reason": "y"}',
        ]
        return said[len(body["messages"]) // 2]

    with FakeServer(answer=answer) as server:
        bought, replayed = ask(server, tmp_path / "l.sqlite")
    assert bought == replayed == Parsed(Rating(score=4, reason="y"), rounds=3)
    assert "there is no JSON object in it" in seen[1]["messages"][-1]["content"]
    assert "score: Input should be less than or equal to 5" in seen[2]["messages"][-1]["content"]
    assert seen[0]["response_format"]["json_schema"]["schema"]["additionalProperties"] is False
    assert len(seen) == 3


def test_what_never_validates_is_a_typed_failure(tmp_path: Path) -> None:
    with FakeServer(answer=lambda body, digest: '{"score": 1') as server:
        bought, replayed = ask(server, tmp_path / "l.sqlite")
    assert bought == replayed
    assert (bought.value, bought.failure, bought.rounds) == (None, "invalid_json", 3)
    assert "breaks off" in bought.detail


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        'Yes.\n```json\n{"a": 1}\n```\nDone {not json}.',
        '<think>\n{"a": 2} or \\frac{1}{2}?\n</think>\n{"a": 1}',
        'cut off at the start: {"b": 3}</think>{"a": 1}',
        '\ufeff{"a": 1}',
    ],
)
def test_json_is_found_after_the_reasoning_whatever_stands_around_it(text: str) -> None:
    assert extract_json(text) == [{"a": 1}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Well.", "no JSON object"),
        ('<think>{"a": 1}', "no JSON object"),  # it never came to an end
        ('{"a": ' * 1000, "nested too deeply|breaks off"),
        ("{" * 100_000, "breaks off or is wrong"),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "integer string conversion"),
        ("[4, 2]", "no JSON object"),
    ],
    ids=["none", "thinking", "thousand", "braces", "deep", "digits", "list"],
)
def test_text_without_a_usable_object_is_an_error_in_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        extract_json(text)


def test_the_last_object_that_validates_is_taken_and_drafts_are_not() -> None:
    rating = '{"score": 2, "reason": "x"}'
    assert read_shape(f'{{"score": 9}} is a draft. Final: {rating} {{"a": 1}}', Rating).score == 2
    with pytest.raises(ValueError, match="score: Input should be less than or equal to 5"):
        read_shape('{"score": 9, "reason": "x"}', Rating)


def test_strict_schemas_are_closed_and_require_everything() -> None:
    class Inner(BaseModel):
        b: int = 3

    class Outer(BaseModel):
        inner: list[Inner]

    schema = strict_schema(Outer)
    assert schema["required"] == ["inner"] and schema["additionalProperties"] is False
    assert schema["$defs"]["Inner"]["required"] == ["b"]
    json.dumps(schema)
