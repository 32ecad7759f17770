"""Systems and judges behind chat endpoints: answered, judged, paid once, refused to a second process."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="the client needs the extra [api]")

import boresight
from boresight.cli import main
from boresight.core.errors import UserError
from boresight.core.interrupt import Interrupted
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.llm.client import Client
from boresight.llm.replies.failures import Stopped
from boresight.llm.session import Session
from boresight.runs.evaluation_folder import EvaluationFolder
from tests.llm.fake_server import FakeServer, echo, some
from tests.llm.helpers import KEY, KEY_ENV
from tests.synthesis.test_synth_run import write_prompts


@pytest.fixture(autouse=True)
def planted_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)


def answer_or_judge(body: dict[str, Any], digest: str) -> str:
    """Echoes prompts; as a judge, reasons about one verdict and gives the other."""
    if "VERDICT" not in body["messages"][0]["content"]:
        return f"{body['temperature']} {echo(body, digest)}"
    first, second = (body["messages"][0]["content"].index(f"<answer-{i}>") for i in (1, 2))
    better = "1" if body["messages"][0]["content"].find("\n0.0 ") in range(first, second) else "2"
    return f"<think>\nVERDICT: {3 - int(better)}\n</think>\nThe plainer one.\nVERDICT: {better}"


def words(prompts: object, completions: list[str], rows: object) -> list[float]:
    """A reward without an opinion."""
    return [1.0 for _ in completions]


def recipe(server: FakeServer, folder: Path, **changes: Any) -> dict[str, Any]:
    """Two systems at one endpoint and a file, judged by the endpoint in both orders."""
    endpoint = {"model": "m", "base_url": server.url, "key_env": KEY_ENV}
    prompts = write_prompts(folder / "prompts.jsonl", 6)
    rows = [json.loads(line) for line in prompts.read_bytes().splitlines()]
    (folder / "b.jsonl").write_text("".join(json.dumps({**row, "answer": "0.9 b"}) + "\n" for row in rows))
    return {
        "prompts": str(prompts),
        "systems": {"b": {"answers": str(folder / "b.jsonl")}, "gpt": {"endpoint": endpoint}},
        "generate": {"max_new_tokens": 32},
        "judge": {"name": "llm", "endpoint": server.url, "model": "m", "key_env": KEY_ENV},
        "trust": {"controls": 0, "repeats": 0},
        "ledger": str(folder / "judgements.sqlite"),
        **changes,
    }


def evaluate(server: FakeServer, folder: Path, **changes: Any) -> Any:
    return boresight.evaluate(recipe(server, folder, **changes), run=folder / "eval", quiet=True)


def test_any_chat_endpoint_can_be_a_system_and_a_judge_whose_reasoning_is_no_verdict(tmp_path: Path) -> None:
    with FakeServer(answer=answer_or_judge) as server:
        found = evaluate(server, tmp_path)
        assert len(server.seen) == 6 + 2 * 6
        assert found.pairs[0].rate.value == 1.0
        (tmp_path / "eval" / "answers-gpt.jsonl").unlink()
        evaluate(server, tmp_path)
        assert len(server.seen) == 6 + 2 * 6  # both ledgers hold everything


def test_an_evaluation_runs_where_an_event_loop_runs_already(tmp_path: Path) -> None:
    async def cell(server: FakeServer) -> float:
        return float(evaluate(server, tmp_path).pairs[0].rate.value)

    with FakeServer(answer=answer_or_judge) as server:
        assert asyncio.run(cell(server)) == 1.0


def test_answers_that_did_not_come_stop_and_the_same_command_goes_on(tmp_path: Path) -> None:
    def first_run(digest: str, attempt: int) -> str | None:
        return "400" if len(server.answered) >= 4 else None

    with FakeServer(answer=answer_or_judge, faults=first_run) as server:
        with pytest.raises(Stopped, match=r"gpt: 2 of 6 answers were not received .*max_requests = 4"):
            evaluate(server, tmp_path, budget={"max_requests": 4})
        server.faults = some({})
        evaluate(server, tmp_path)  # with another budget, which may be raised
    assert len(server.answered) == 6 + 2 * 6 and set(server.answered.values()) == {1}


def run_quoted(sentence: str, *overrides: str) -> None:
    """Run the command in backquotes; it must end well."""
    _, *arguments = shlex.split(sentence.split("`")[1])
    with pytest.raises(SystemExit) as left:
        main.main([*arguments, *overrides])
    assert not left.value.code


@pytest.mark.parametrize("stop", ["budget", "no money", "no server"])
def test_what_stops_an_evaluation_names_the_command_that_continues_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    """In a default folder, whose name has the time in it: no answer is paid for twice."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Client, "_pause", lambda *_: 0.0)
    budget = {"budget": {"max_requests": 4}} if stop == "budget" else {}

    def fault(digest: str, attempt: int) -> str | None:
        fail = {"budget": None, "no money": "quota", "no server": "500"}[stop]
        return fail if len(server.answered) >= 4 else None

    with FakeServer(answer=answer_or_judge, faults=fault) as server:
        made = recipe(server, tmp_path, **budget)
        made["systems"]["gpt"]["endpoint"]["limits"] = {"max_concurrency": 1}
        with pytest.raises(Stopped, match=r"`boresight evaluate .* --run .*` continues\.$") as stopped:
            boresight.evaluate(made, quiet=True)
        assert "same command" not in str(stopped.value)
        assert stop != "budget" or "raise budget.max_requests;" in str(stopped.value)
        server.faults = some({})
        run_quoted(str(stopped.value), *(["budget.max_requests=99"] if budget else []))
    assert len(server.answered) == 6 + 2 * 6 and set(server.answered.values()) == {1}
    assert len(list((tmp_path / "runs").glob("evaluation-*"))) == 1


def test_ctrl_c_after_paid_answers_names_the_command_that_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = Session.each

    def interrupted(*arguments: Any) -> None:
        before(*arguments)
        raise KeyboardInterrupt

    with FakeServer(answer=answer_or_judge) as server:
        monkeypatch.setattr(Session, "each", interrupted)
        with pytest.raises(
            Interrupted, match=r"^interrupted; `boresight evaluate .*` continues\.$"
        ) as stopped:
            boresight.evaluate(recipe(server, tmp_path), quiet=True)
        monkeypatch.setattr(Session, "each", before)
        run_quoted(str(stopped.value))
    assert set(server.answered.values()) == {1}


def test_a_judge_that_must_be_changed_leaves_answers_for_another_recipe(tmp_path: Path) -> None:
    def no_verdict(body: dict[str, Any], digest: str) -> str:
        return "hm" if "VERDICT" in body["messages"][0]["content"] else answer_or_judge(body, digest)

    with FakeServer(answer=no_verdict) as server:
        with pytest.raises(
            Stopped, match="take another model; what has arrived is kept: in another"
        ) as stopped:
            evaluate(server, tmp_path)
        kept = tmp_path / "eval" / "answers-gpt.jsonl"
        assert f"`gpt: {{answers: {kept}}}` reads the answers." in str(stopped.value)
        server.answer, sent = answer_or_judge, len(server.seen)
        made = recipe(server, tmp_path, ledger=str(tmp_path / "other.sqlite"))
        made["systems"]["gpt"] = {"answers": str(kept)}
        boresight.evaluate(made, run=tmp_path / "other", quiet=True)
        assert len(server.seen) == sent + 2 * 6


def test_refused_answers_are_missing_and_not_empty(tmp_path: Path) -> None:
    with FakeServer(answer=answer_or_judge, faults=some({"refusal": 0.4})) as server:
        evaluate(server, tmp_path)
    rows = [json.loads(x) for x in (tmp_path / "eval" / "answers-gpt.jsonl").read_bytes().splitlines()]
    assert {row["answer"] for row in rows} >= {None}
    assert "" not in {row["answer"] for row in rows}


def test_a_second_process_is_refused_before_it_changes_anything(tmp_path: Path) -> None:
    """The judge computes here, so no ledger is in the way."""
    judge = {"name": "checks", "check": "tests.runs.test_evaluate_endpoint:words"}
    with FakeServer(answer=answer_or_judge) as server:
        whole = recipe(server, tmp_path)
        evaluate(server, tmp_path, judge=judge)
        with EvaluationFolder(tmp_path / "eval") as held:
            held.open(EvaluationRecipe.parse({**whole, "judge": judge}).to_dict())
            before = {f: f.read_bytes() for f in (tmp_path / "eval").iterdir()}
            with pytest.raises(UserError, match="another process is evaluating here"):
                evaluate(server, tmp_path, judge=judge)
        assert {f: f.read_bytes() for f in (tmp_path / "eval").iterdir()} == before


@pytest.mark.parametrize("whose", ["system", "judge"])
def test_a_missing_key_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    monkeypatch.delenv(KEY_ENV)
    monkeypatch.setenv("BORESIGHT_OTHER_KEY", KEY)
    with FakeServer() as server:
        made = recipe(server, tmp_path)
        other = made["judge"] if whose == "system" else made["systems"]["gpt"]["endpoint"]
        other["key_env"] = "BORESIGHT_OTHER_KEY"
        with pytest.raises(UserError, match=f"{KEY_ENV} is not set"):
            boresight.evaluate(made, run=tmp_path / "eval", quiet=True)
    assert not (tmp_path / "eval").exists()


@pytest.mark.parametrize("whose", ["system", "judge", "rank_by", "reward"])
def test_a_limit_in_dollars_without_a_price_is_refused_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """`m` is in no price table."""
    monkeypatch.chdir(tmp_path)
    with FakeServer(answer=answer_or_judge) as server:
        made = recipe(server, tmp_path)
        scores = {"name": "reward_endpoint", "endpoint": server.url, "model": "m", "key_env": KEY_ENV}
        if whose in ("reward", "rank_by"):
            words_only = {"function": "tests.runs.test_evaluate_endpoint:words"}
            made = {key: made[key] for key in ("prompts", "systems", "generate")}
            made |= {"reward": words_only, "rank_by": scores}
            if whose == "reward":
                made |= {"reward": {"judge": scores}, "rank_by": None}
        limited = {"system": made, "judge": made.get("judge")}.get(whose, scores)
        limited |= {"budget": {"max_usd": 5.0}}
        with pytest.raises(UserError, match=r"budget\.max_usd: the price of m is not known.* give `price` "):
            boresight.evaluate(made, run=tmp_path / "eval", quiet=True)
        assert not server.seen and not (tmp_path / "eval").exists()


def test_a_limit_in_dollars_holds_where_the_price_is_known(tmp_path: Path) -> None:
    """Every answer may cost 32 dollars and its prompt."""
    with FakeServer(answer=answer_or_judge) as server:
        made = recipe(server, tmp_path, budget={"max_usd": 100.0})
        made["systems"]["gpt"]["endpoint"]["price"] = {"input": 0.0, "output": 1e6}
        made["systems"]["gpt"]["endpoint"]["limits"] = {"max_concurrency": 1}
        with pytest.raises(Stopped, match=r"budget\.max_usd = 100\.0 is reached\); raise budget\.max_usd;"):
            boresight.evaluate(made, run=tmp_path / "eval", quiet=True)
    assert 0 < len(server.seen) < 6
