"""Synthesis against servers, judges and processes that misbehave."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="the client needs the extra [api]")

import boresight
from boresight.core.errors import UserError
from boresight.llm.ledger import Ledger
from boresight.llm.replies.failures import Stopped
from boresight.synthesis.recipe import SynthesisRecipe
from boresight.synthesis.run import run_synthesis
from tests.llm.fake_server import FakeServer
from tests.synthesis.test_synth_run import answer_and_judge, make, raw, write_prompts

Response = tuple[int, bytes, dict[str, str]]
Payload = dict[str, Any]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_prompts(tmp_path / "prompts.jsonl", 8)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but SQLite's own beside its database."""
    files = (f for f in folder.rglob("*") if f.is_file() and not f.name.endswith(("-wal", "-shm")))
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


def test_a_second_process_is_refused_before_it_changes_anything(tmp_path: Path, prompts: Path) -> None:
    folder = tmp_path / "run"
    with FakeServer(answer=answer_and_judge) as server:
        make(server, folder, prompts)
        with Ledger(folder / "ledger.sqlite"):
            before = contents(folder)
            other = SynthesisRecipe.parse(raw(server, prompts, seed=7))
            with pytest.raises(UserError, match="another process works on this ledger"):
                run_synthesis(other, folder)
            assert contents(folder) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompts": {"source": "nowhere.jsonl"}}, "nowhere"),
        ({"answers": {"policy": {"by": "other", "n": 2}}}, "BORESIGHT_NO_SUCH_KEY is not set"),
    ],
)
def test_what_can_be_refused_is_refused_before_anything_is_written(
    tmp_path: Path, prompts: Path, changes: dict[str, Any], said: str
) -> None:
    with FakeServer(answer=answer_and_judge) as server:
        made = raw(server, prompts, **changes)
        made["endpoints"]["other"] = {
            "model": "o",
            "base_url": server.url,
            "key_env": "BORESIGHT_NO_SUCH_KEY",
        }
        with pytest.raises(UserError, match=said):
            run_synthesis(SynthesisRecipe.parse(made), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_folder_of_something_else_is_left_alone(tmp_path: Path, prompts: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("method: {name: dpo}\n")
    with FakeServer(answer=answer_and_judge) as server, pytest.raises(UserError, match="no synthesis"):
        make(server, folder, prompts)
    assert contents(folder) == {"config.yaml": b"method: {name: dpo}\n"}


def test_a_judge_that_never_says_json_stops_with_an_example_after_a_dozen_replies(tmp_path: Path) -> None:
    """45 prompts in both orders, asked three times each, would be 270 paid replies."""

    def answer(body: dict[str, Any], digest: str) -> str:
        return "I like them all." if is_judge(body) else answer_and_judge(body, digest)

    folder = tmp_path / "run"
    with FakeServer(answer=answer) as server:
        changes = {"prompts": {"source": str(write_prompts(tmp_path / "p.jsonl", 45))}}
        recipe = raw(server, tmp_path / "p.jsonl", **changes)
        with pytest.raises(Stopped, match=r"judge: none of the first 12 .*no JSON object.*I like them all"):
            run_synthesis(SynthesisRecipe.parse(recipe), folder)
        judged = len(server.seen) - 45 * 3
        assert 12 <= judged <= 12 + 9  # three requests may have followed the first of the four
        with pytest.raises(Stopped, match="judge: none of the first"):  # and again, for nothing
            run_synthesis(SynthesisRecipe.parse(recipe), folder)
        assert len(server.seen) - 45 * 3 <= 2 * (12 + 9)


def is_judge(body: dict[str, Any]) -> bool:
    """Whether a request is for a rating."""
    return str(body["messages"][0]["content"]).startswith("Rate ")


def test_drafts_in_a_judges_reasoning_are_no_verdict(tmp_path: Path, prompts: Path) -> None:
    def answer(body: dict[str, Any], digest: str) -> str:
        said = answer_and_judge(body, digest)
        draft = f'<think>Draft {{"ratings": [..]}}, {said.replace("5", "1")}</think>\n'
        return draft + said if is_judge(body) else said

    with FakeServer(answer=answer_and_judge) as plain:
        expected = make(plain, tmp_path / "plain", prompts)
    with FakeServer(answer=answer) as server:
        pairs = make(server, tmp_path / "run", prompts)
        assert len(server.seen) == 8 * (3 + 2)
    assert [(p.chosen_score, p.rejected_score) for p in pairs] == [
        (p.chosen_score, p.rejected_score) for p in expected
    ]


def test_answers_without_content_fail_and_no_judge_sees_them(tmp_path: Path, prompts: Path) -> None:
    def respond(payload: Payload) -> Response:
        text = payload["choices"][0]["message"]["content"]
        if not text.startswith("{") and int(text.split()[0][1:]) % 3 == 0:
            payload["choices"][0]["message"] = {"role": "assistant", "content": None, "reasoning": "Hm."}
        return 200, json.dumps(payload).encode(), {}

    with FakeServer(answer=answer_and_judge, respond=respond) as server:
        make(server, tmp_path / "run", prompts)
    lines = [json.loads(line) for line in (tmp_path / "run" / "answers.jsonl").read_bytes().splitlines()]
    answers = [answer for line in lines for answer in line["answers"]]
    assert any(a.get("failure") == "empty" for a in answers)
    assert all(a["text"] and a.get("failure") != "empty" for a in answers if "score" in a)
    assert "answers that failed (empty)" in (tmp_path / "run" / "card.md").read_text()


def test_half_a_surrogate_pair_anywhere_ends_nothing(tmp_path: Path) -> None:
    """In some answers and in some verdicts; the same command again buys nothing more."""
    source = write_prompts(tmp_path / "p.jsonl", 16)

    def respond(payload: Payload) -> Response:
        message = payload["choices"][0]["message"]
        if "w7 " in message["content"] or "w60" in message["content"] or len(server.seen) % 19 == 0:
            message["content"] += "\ud83d"
        return 200, json.dumps(payload).encode(), {}

    folder = tmp_path / "run"
    with FakeServer(answer=answer_and_judge, respond=respond) as server:
        pairs = make(server, folder, source)
        sent, files = len(server.seen), contents(folder)
        assert make(server, folder, source) == pairs
        assert len(server.seen) == sent
    assert 4 <= len(pairs) < 16
    assert {n: f for n, f in contents(folder).items() if "ledger" not in n} == {
        n: f for n, f in files.items() if "ledger" not in n
    }
    assert "answers that failed (invalid_text)" in (folder / "card.md").read_text()


def test_identical_samples_are_said_on_the_card(tmp_path: Path) -> None:
    """A server that ignores the temperature and the seed."""

    def answer(body: dict[str, Any], digest: str) -> str:
        return answer_and_judge({**body, "seed": 0}, body["messages"][-1]["content"])

    with FakeServer(answer=answer) as server, pytest.raises(UserError, match="repeat another"):
        make(server, tmp_path / "run", write_prompts(tmp_path / "p.jsonl", 6))
    different = {
        "one": {"by": "api", "n": 2, "max_tokens": 32},
        "two": {"by": "api", "n": 1, "system": "Hm."},
    }
    with FakeServer(answer=lambda body, digest: answer(body, str(body["messages"]))) as server:
        server.answer = lambda body, digest: answer_and_judge(body, json.dumps(body["messages"]))
        make(server, tmp_path / "other", tmp_path / "p.jsonl", answers=different)
    card = (tmp_path / "other" / "card.md").read_text()
    assert "one: all answers to a prompt are identical for 6 of 6 prompts" in card
    assert "ignore temperature 0.9" in card


def test_estimated_usage_is_said_on_the_card(tmp_path: Path, prompts: Path) -> None:
    def respond(payload: Payload) -> Response:
        return 200, json.dumps({**payload, "usage": {"prompt_tokens": 20, "total_tokens": 15}}).encode(), {}

    with FakeServer(answer=answer_and_judge, respond=respond) as server:
        assert make(server, tmp_path / "run", prompts)
        assert len(server.seen) == 8 * (3 + 2)
    assert "The tokens of 40 responses of m are an estimate" in (tmp_path / "run" / "card.md").read_text()


def test_synthesis_runs_where_an_event_loop_runs_already(tmp_path: Path, prompts: Path) -> None:
    async def cell(server: FakeServer) -> Path:
        recipe = raw(server, prompts)
        return boresight.synthesize(recipe, run=tmp_path / "run").file

    with FakeServer(answer=answer_and_judge) as server:
        assert asyncio.run(cell(server)).stat().st_size
