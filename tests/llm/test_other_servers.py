"""What servers write that are not OpenAI's: reasons why an answer ended, parts of a message, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="the client needs the extra [api]")

from boresight.llm.client import Stopped
from boresight.llm.replies.failures import RequestFailure
from boresight.llm.replies.reply import Reply
from tests.llm.fake_server import FakeServer
from tests.llm.helpers import requests, run


def completion(finish: object, content: object = "Blue") -> dict[str, Any]:
    return {"choices": [{"finish_reason": finish, "message": {"role": "assistant", "content": content}}]}


@pytest.mark.parametrize(
    ("finish", "failure"),
    [
        *((finish, None) for finish in (None, "", "stop", "eos", "end_turn", "tool_calls")),
        *((finish, "truncated") for finish in ("length", "max_tokens", "MAX_TOKENS", "model_length")),
        *((finish, "content_filter") for finish in ("content_filter", "SAFETY", "sensitive", "RECITATION")),
    ],
)
def test_a_text_that_the_server_ended_is_no_whole_answer(finish: object, failure: str | None) -> None:
    reply = Reply.read(completion(finish))
    assert (reply.failure, reply.text) == (failure, "Blue")


@pytest.mark.parametrize("finish", ["error", "abort", "network_error", "insufficient_system_resource"])
def test_an_answer_that_the_server_broke_off_is_sent_for_again(tmp_path: Path, finish: str) -> None:
    def respond(payload: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        if len(server.seen) == 1:
            payload = json.loads(json.dumps(payload))
            payload["choices"][0]["finish_reason"] = finish
        return 200, json.dumps(payload).encode(), {}

    with FakeServer(respond=respond) as server:
        (reply,), client = run(server.url, tmp_path / "l.sqlite", requests(server.url, 1))
    assert reply.failure is None
    assert len(server.seen) == 2
    assert client.progress.first_failure == {
        "server": f"the server broke the answer off (finish_reason {finish})"
    }


@pytest.mark.parametrize(
    ("content", "text", "failure"),
    [
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}], "", "empty"),
        ([{"type": "thinking", "thinking": []}, {"type": "text", "text": "Blue"}], "Blue", None),
        ([{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "Blue"}], "Blue", None),
    ],
)
def test_parts_of_reasoning_are_no_answer(content: object, text: str, failure: str | None) -> None:
    reply = Reply.read(completion("stop", content))
    assert (reply.text, reply.failure) == (text, failure)
    assert failure is None or reply.detail == "the message has no content, all of it was reasoning"


def test_parts_that_are_no_text_cannot_be_read() -> None:
    with pytest.raises(RequestFailure) as refused:
        Reply.read(completion("stop", [{"type": "image_url", "image_url": {}}]))
    assert refused.value.kind == "invalid_json"


ADDRESS = "check the model's name and base_url, which usually ends in /v1"
ERRORS = {
    "FastAPI": (422, {"detail": [{"msg": "extra"}]}, r'HTTP 422: {"msg": "extra"}; change'),
    "LM Studio": (400, {"error": "No models loaded."}, "HTTP 400: No models loaded; change the recipe"),
    "Gemini": (400, [{"error": {"message": "API key not valid."}}], "HTTP 400: API key not valid; change"),
    "Go": (404, b"404 page not found", f"HTTP 404: 404 page not found; {ADDRESS}"),
    "Starlette": (405, {"detail": "Method Not Allowed"}, f"HTTP 405: Method Not Allowed; {ADDRESS}"),
    "a proxy": (404, b"<html><head><title>Not here</title></head>", f"HTTP 404: Not here; {ADDRESS}"),
    "a page without a title": (404, b"<html><p>Not here", f"HTTP 404: Not here; {ADDRESS}"),
    "nothing": (400, b"", "HTTP 400: no message; change the recipe"),
    "deep": (400, b'{"detail":' * 900 + b"1" + b"}" * 900, "HTTP 400: .*; change the recipe"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_the_message_of_an_error_is_printed_in_any_form(tmp_path: Path, case: str) -> None:
    status, body, said = ERRORS[case]
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    with FakeServer(respond=lambda _: (status, sent, {})) as server, pytest.raises(Stopped, match=said):
        run(server.url, tmp_path / "l.sqlite", requests(server.url, 1))


def test_a_prompt_that_moderation_refuses_is_no_wrong_key(tmp_path: Path) -> None:
    """OpenRouter sends status 403 for it; the other prompts are answered."""
    flagged = {"error": {"code": 403, "message": "Your input was flagged", "metadata": {"reasons": ["x"]}}}

    def respond(payload: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        first = server.seen[-1].digest == server.seen[0].digest
        return (403, json.dumps(flagged).encode(), {}) if first else (200, json.dumps(payload).encode(), {})

    with FakeServer(respond=respond) as server:
        replies, _ = run(server.url, tmp_path / "l.sqlite", requests(server.url, 3))
    assert sorted(str(reply.failure) for reply in replies) == ["None", "None", "content_filter"]
