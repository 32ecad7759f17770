"""All stages against a server that answers and judges, from a recipe to files that training reads."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="the client needs the extra [api]")

from boresight.core.errors import UserError
from boresight.core.schema import Preference
from boresight.data.reading.load import read
from boresight.llm.client import Stopped
from boresight.synthesis.dry_run import estimate
from boresight.synthesis.prompts import read_prompt_source, request_for
from boresight.synthesis.recipe import PromptsSection, SynthesisRecipe
from boresight.synthesis.run import run_synthesis
from tests.llm.fake_server import FakeServer, echo, some
from tests.llm.helpers import KEY, KEY_ENV


def write_prompts(path: Path, count: int) -> Path:
    lines = [json.dumps({"prompt": f"Tell me about thing number {i}, please."}) for i in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path


def raw(server: FakeServer, source: Path, /, **changes: Any) -> dict[str, Any]:
    """A recipe with three answers a prompt, judged by rubric in both orders: five requests a prompt."""
    endpoint = {"model": "m", "base_url": server.url, "key_env": KEY_ENV}
    return {
        "endpoints": {"api": {**endpoint, "price": {"input": 1.0, "output": 2.0}}},
        "prompts": {"source": str(source)},
        "answers": {"policy": {"by": "api", "n": 3, "max_tokens": 32, "seed": 1}},
        "judge": {"name": "rubric", "by": "api"},
        "pairs": {"max_length_gap": None},
        **changes,
    }


def quality(text: str) -> int:
    """What the fake judge thinks of an answer: 1 to 5 from its first number; 1 without a number."""
    number = re.search(r"\d+", text)
    return 1 + (int(number.group()) % 5 if number else 0)


def answer_and_judge(body: dict[str, Any], digest: str, place: int = 0) -> str:
    """Echoes prompts; rates answers. `place` is added to the rating of the answer that is shown first."""
    text = body["messages"][-1]["content"]
    if not text.startswith("Rate "):
        return echo(body, digest)
    shown = re.findall(r"<answer-\d+>\n(.*?)\n</answer-\d+>", text, re.DOTALL)
    names = ("instruction_following", "truthfulness", "honesty", "helpfulness")
    ratings = [
        {"reason": "so", **{name: min(5, quality(a) + place * (i == 0)) for name in names}}
        for i, a in enumerate(shown)
    ]
    return json.dumps({"ratings": ratings})


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_prompts(tmp_path / "prompts.jsonl", 8)


def make(server: FakeServer, folder: Path, source: Path, /, **changes: Any) -> list[Preference]:
    run_synthesis(SynthesisRecipe.parse(raw(server, source, **changes)), folder)
    return [e for e in read(folder / "pairs.jsonl").examples if isinstance(e, Preference)]


def test_from_prompts_to_pairs_that_training_reads(tmp_path: Path, prompts: Path) -> None:
    folder = tmp_path / "run"
    with FakeServer(answer=answer_and_judge) as server:
        pairs = make(server, folder, prompts)
    assert len(server.seen) == 8 * (3 + 2)
    assert 4 <= len(pairs) <= 8
    for pair in pairs:
        better, worse = quality(pair.chosen[0]["content"]), quality(pair.rejected[0]["content"])
        assert (better, worse) == (pair.chosen_score, pair.rejected_score) and better > worse
        assert pair.meta["chosen_from"]["axes"]["honesty"] == better
    assert read(folder / "pairs.parquet").examples == pairs
    lines = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    assert [len(line["answers"]) for line in lines] == [3] * 8
    card = (folder / "card.md").read_text()
    assert f"{len(pairs)} preference pairs" in card
    assert "changed places for 0 of 8 prompts" in card
    assert "AUC" in card and "| judge | m | 16 |" in card
    assert f"8 prompts from {prompts}." in card.replace("\\_", "_")
    assert "(m; instruction\\_following, truthfulness, honesty, helpfulness, 1 to 5; both orders)" in card
    assert card.count("\n### ") == min(5, len(pairs))


def with_tools(path: Path) -> Path:
    """Prompts whose messages have a key that Parquet has no column for."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    turns = [[{"role": "user", "content": row["prompt"], "tools": [{"name": "clock"}]}] for row in rows]
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in turns))
    return path


@pytest.mark.parametrize(
    ("hidden", "tools", "why"),
    [
        (True, False, "needs the package pyarrow; run `pip install 'boresight[datasets]'`"),
        (False, True, "Parquet keeps role and words only, and a message has `tools`; write .jsonl instead"),
    ],
)
def test_parquet_is_written_last_where_it_can_be(
    tmp_path: Path,
    prompts: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hidden: bool,
    tools: bool,
    why: str,
) -> None:
    """Everything is paid for by then: nothing but that file is missing, and none of earlier pairs is left."""
    from boresight.core.console import Terminal

    folder = tmp_path / "run"
    with FakeServer(answer=answer_and_judge) as server:
        make(server, folder, prompts)
        if tools:
            with_tools(prompts)
        if hidden:
            for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
                monkeypatch.setitem(sys.modules, name, None)
        made = run_synthesis(SynthesisRecipe.parse(raw(server, prompts)), folder, Terminal(soft_wrap=True))
    said = capsys.readouterr()
    line = f"pairs.parquet is not written ({why}); pairs.jsonl has the same pairs."
    assert line in (said.out + said.err).splitlines()
    assert not (folder / "pairs.parquet").exists()
    assert made.card.is_file() and len(read(made.file).examples) == made.pairs


def test_a_run_that_fails_leaves_no_pairs_of_another_recipe(tmp_path: Path, prompts: Path) -> None:
    """Neither where an endpoint stops it, nor where no pair is made. A budget is no other recipe."""
    folder, result = tmp_path / "run", ("pairs.jsonl", "pairs.parquet", "card.md")
    judge = {"name": "rubric", "by": "api", "scale": 6}
    with FakeServer(answer=answer_and_judge, key=KEY) as server:
        make(server, folder, prompts)
        server.key = "another"
        with pytest.raises(Stopped):
            make(server, folder, write_prompts(prompts, 9), budget={"max_requests": 99})
        assert all((folder / name).exists() for name in result)
        server.key = KEY
        server.answer = lambda body, digest: "no rating"
        with pytest.raises(Stopped):
            make(server, folder, prompts, judge=judge)
        assert not any((folder / name).exists() for name in (*result, "answers.jsonl"))
        server.answer = answer_and_judge
        make(server, folder, prompts)
        with pytest.raises(UserError, match="no pair was made"):
            make(server, folder, prompts, pairs={"max_length_gap": None, "margin": 4.0})
    assert not any((folder / name).exists() for name in result)


def test_the_same_command_again_buys_nothing_and_writes_the_same(tmp_path: Path, prompts: Path) -> None:
    folder = tmp_path / "run"
    with FakeServer(answer=answer_and_judge) as server:
        make(server, folder, prompts)
        files = {name: (folder / name).read_bytes() for name in ("pairs.jsonl", "answers.jsonl", "card.md")}
        sent = len(server.seen)
        make(server, folder, prompts)
        assert len(server.seen) == sent
        assert {name: (folder / name).read_bytes() for name in files} == files


def test_one_more_prompt_buys_one_and_another_judge_buys_judgments_alone(
    tmp_path: Path, prompts: Path
) -> None:
    folder = tmp_path / "run"
    with FakeServer(answer=answer_and_judge) as server:
        make(server, folder, prompts)
        sent = len(server.seen)
        make(server, folder, write_prompts(prompts, 9))
        assert len(server.seen) - sent == 3 + 2
        sent = len(server.seen)
        make(server, folder, prompts, judge={"name": "rubric", "by": "api", "scale": 6})
        assert len(server.seen) - sent == 9 * 2


def test_a_judge_that_favours_the_first_place_is_seen_to_flip(tmp_path: Path, prompts: Path) -> None:
    with FakeServer(answer=lambda body, digest: answer_and_judge(body, digest, place=4)) as server:
        make(server, tmp_path / "run", prompts)
    flips = re.search(r"changed places for (\d) of 8 prompts", (tmp_path / "run" / "card.md").read_text())
    assert flips is not None and int(flips[1]) >= 4


def test_answers_and_judgments_that_fail_are_counted_and_never_a_score(tmp_path: Path, prompts: Path) -> None:
    with FakeServer(answer=answer_and_judge, faults=some({"refusal": 0.2, "length": 0.2})) as server:
        pairs = make(server, tmp_path / "run", write_prompts(prompts, 30))
    card = (tmp_path / "run" / "card.md").read_text()
    lines = [json.loads(line) for line in (tmp_path / "run" / "answers.jsonl").read_text().splitlines()]
    failed = [a for line in lines for a in line["answers"] if "failure" in a]
    assert failed and not any("score" in answer for answer in failed)
    assert "answers that failed (refusal)" in card and "answers that could not be judged" in card
    assert 0 < len(pairs) < 30


def test_a_spent_budget_writes_what_it_can_and_the_next_run_goes_on(tmp_path: Path, prompts: Path) -> None:
    folder = tmp_path / "run"
    with FakeServer(answer=answer_and_judge) as server:
        with pytest.raises(Stopped, match=r"max_requests = 36 is reached: \d pairs are written") as stopped:
            make(server, folder, prompts, budget={"max_requests": 36})
        assert "raise it; what has arrived is kept: run the same command again." in str(stopped.value)
        assert len(server.seen) == 36
        assert "**Incomplete**" in (folder / "card.md").read_text()
        make(server, folder, prompts)
        assert len(server.seen) == 40
        assert "**Incomplete**" not in (folder / "card.md").read_text()


def test_a_limit_in_dollars_without_a_price_is_refused(tmp_path: Path, prompts: Path) -> None:
    """A model in this process is free, and `m` is in no price table."""
    with FakeServer(answer=answer_and_judge) as server:
        made = raw(server, prompts, budget={"max_usd": 5.0})
        made["endpoints"]["api"]["price"] = None
        with pytest.raises(UserError, match=r"budget\.max_usd: the price of m is not known"):
            run_synthesis(SynthesisRecipe.parse(made), tmp_path / "run")
        assert not server.seen and not (tmp_path / "run").exists()
        made["endpoints"]["api"]["price"] = {"input": 0.0, "output": 0.0}
        run_synthesis(SynthesisRecipe.parse(made), tmp_path / "run")


def test_the_key_is_nowhere_in_the_run_folder(
    tmp_path: Path, prompts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    folder = tmp_path / "run"
    with FakeServer(answer=answer_and_judge, faults=some({"500": 0.2}), key=KEY) as server:
        run_synthesis(SynthesisRecipe.parse(raw(server, prompts)), folder, Console())
        made = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        server.key = "another"
        with pytest.raises(Stopped) as stopped:
            judge = {"name": "rubric", "by": "api", "scale": 7}
            run_synthesis(SynthesisRecipe.parse(raw(server, prompts, judge=judge)), folder)
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {"ledger.sqlite", "card.md", "config.yaml", "answers.jsonl"} <= {file.name for file in made}
    contents = [*made.values(), *(file.read_bytes() for file in files)]
    everything = b"".join(contents).decode("latin-1")
    assert KEY not in everything + str(stopped.value) + "".join(capfd.readouterr())


def test_new_prompts_in_the_style_of_seeds(tmp_path: Path, prompts: Path) -> None:
    """Every request brings one new prompt, one that is too near, and one copy of a seed."""
    copy = "Tell me about thing number 0, please."

    def answer(body: dict[str, Any], digest: str) -> str:
        text = body["messages"][-1]["content"]
        if "Write 2 new ones" not in text:
            return answer_and_judge(body, digest)
        fresh = echo(body, digest)
        return json.dumps({"prompts": [fresh, f"{fresh} again", copy]})

    new = {"by": "api", "count": 6, "per_request": 2, "topics": ["tea", "rain"], "seed": 5}
    with FakeServer(answer=answer) as server:
        make(server, tmp_path / "run", prompts, prompts={"source": str(prompts), "new": new})
    lines = (tmp_path / "run" / "prompts.jsonl").read_text().splitlines()
    assert len(lines) == 6
    assert copy not in "".join(lines)
    card = (tmp_path / "run" / "card.md").read_text()
    assert "new prompts too similar to others" in card
    assert "6 new prompts of 6 wanted, by m (" in card and "on the topics tea, rain." in card


@pytest.mark.parametrize("endpoint", [{"structured": "object"}, {"structured": "prompt"}, {"base_url": None}])
def test_a_request_for_new_prompts_describes_its_json_where_no_schema_does(
    prompts: Path, endpoint: dict[str, Any]
) -> None:
    """OpenAI refuses JSON mode without the word; a request under a schema keeps its text, and so its key."""
    new = {"by": "api", "count": 6, "per_request": 2, "topics": ["rain {and} sun"]}
    with FakeServer() as server:
        given = raw(server, prompts, prompts={"source": str(prompts), "new": new})
    seeds = read_prompt_source(PromptsSection(source=str(prompts)), seed=0)

    def text(**changes: Any) -> str:
        given["endpoints"]["api"] |= changes
        recipe = SynthesisRecipe.parse(given)
        assert recipe.prompts.new is not None
        return str(request_for(recipe, recipe.prompts.new, seeds, 0).messages[0]["content"])

    schema = text()
    assert "JSON" not in schema and "rain {and} sun" in schema
    described = text(**endpoint)
    assert described.startswith(schema)
    assert 'one JSON object of the form {"prompts": ["…", "…"]}, whose list has the 2 new\ntasks' in described


@pytest.mark.parametrize(
    "rubric",
    [
        "helpsteer2",
        [{"name": "clear", "question": "Is it clear?"}, {"name": "kind", "question": "Is it kind?"}],
    ],
)
def test_other_rubrics_rate_on_their_own_axes(tmp_path: Path, prompts: Path, rubric: Any) -> None:
    """The judge gives the first axis the answer's quality and every other one 1; weight 0 counts nothing."""
    judge = SynthesisRecipe.parse(
        {
            "endpoints": {"api": {}},
            "answers": {"a": {"by": "api"}},
            "judge": {"name": "rubric", "by": "api", "rubric": rubric},
        }
    ).judge
    first, *others = names = [axis.name for axis in judge.axes]  # type: ignore[union-attr]
    counted = [axis.name for axis in judge.axes if axis.weight]  # type: ignore[union-attr]

    def answer(body: dict[str, Any], digest: str) -> str:
        text = body["messages"][-1]["content"]
        if not text.startswith("Rate "):
            return echo(body, digest)
        assert all(f"- {name}: " in text for name in names)
        shown = re.findall(r"<answer-\d+>\n(.*?)\n</answer-\d+>", text, re.DOTALL)
        ratings = [{"reason": "so", first: quality(a)} | dict.fromkeys(others, 1) for a in shown]
        return json.dumps({"ratings": ratings})

    with FakeServer(answer=answer) as server:
        pairs = make(
            server, tmp_path / "run", prompts, judge={"name": "rubric", "by": "api", "rubric": rubric}
        )
    assert len(names) == (5 if rubric == "helpsteer2" else 2)
    for pair in pairs:
        best = quality(pair.chosen[0]["content"])
        assert pair.meta["chosen_from"]["axes"] == {first: best} | dict.fromkeys(others, 1)
        assert pair.chosen_score == pytest.approx((best + len(counted) - 1) / len(counted))


def test_held_out_prompts_are_left_out_before_anything_is_bought(tmp_path: Path, prompts: Path) -> None:
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"prompt": "tell me about thing number 3 please"}) + "\n")
    section = {"source": str(prompts), "held_out": [str(held)]}
    with FakeServer(answer=answer_and_judge) as server:
        make(server, tmp_path / "run", prompts, prompts=section)
    assert len(server.seen) == 7 * 5


def test_prompts_that_are_made_from_a_seed_are_a_source(tmp_path: Path) -> None:
    drawn = read_prompt_source(PromptsSection(source="generate:constraints-train", limit=160), seed=3)
    assert len(drawn) == 160 and all(prompt.meta["constraint"] for prompt in drawn)
    assert drawn != read_prompt_source(PromptsSection(source="generate:constraints-train", limit=160), seed=4)


def test_a_dry_run_sends_nothing_and_knows_what_is_there(tmp_path: Path, prompts: Path) -> None:
    folder = tmp_path / "run"
    with FakeServer(answer=answer_and_judge) as server:
        recipe = SynthesisRecipe.parse(raw(server, prompts))
        before = estimate(recipe, folder)
        assert not server.seen and not folder.exists()
        make(server, folder, prompts)
        write_prompts(prompts, 16)
        answers, judge = estimate(recipe, folder)
        spent = sum(seen.tokens for seen in server.seen)
    assert [(e.stage, e.requests, e.cached) for e in before] == [("answers", 24, 0), ("judge", 16, 0)]
    assert (answers.requests, answers.cached) == (48, 24)
    low, high = (sum(e.tokens[i] for e in before) for i in (0, 1))
    assert spent <= high and low <= high
    assert before[0].usd is not None and before[0].usd[0] <= before[0].usd[1]
    assert (judge.requests, judge.cached) == (32, 16)


def dry(server: FakeServer, folder: Path, source: Path, /, **changes: Any) -> list[tuple[str, int, int]]:
    """Stage, requests, and how many of them are there."""
    found = estimate(SynthesisRecipe.parse(raw(server, source, **changes)), folder)
    return [(e.stage, e.requests, e.cached) for e in found]


def test_a_dry_run_of_a_finished_run_finds_everything_there_new_prompts_too(
    tmp_path: Path, prompts: Path
) -> None:
    """Two requests bring one prompt each and one that is too near; the third, a round later, the last."""

    def answer(body: dict[str, Any], digest: str) -> str:
        if "new ones" not in body["messages"][-1]["content"]:
            return answer_and_judge(body, digest)
        fresh = echo(body, digest)
        return json.dumps({"prompts": [fresh, f"{fresh} again"]})

    changes = {"prompts": {"source": str(prompts), "new": {"by": "api", "count": 3, "per_request": 2}}}
    with FakeServer(answer=answer) as server:
        before = dry(server, tmp_path / "run", prompts, **changes)
        make(server, tmp_path / "run", prompts, **changes)
        sent = len(server.seen)
        after = dry(server, tmp_path / "run", prompts, **changes)
    assert before == [("prompts", 2, 0), ("answers", 9, 0), ("judge", 6, 0)]
    assert after == [("prompts", 3, 3), ("answers", 9, 9), ("judge", 6, 6)] and sent == 18


def test_a_dry_run_counts_a_judge_with_its_own_endpoint_and_halves_the_price_of_batches(
    tmp_path: Path, prompts: Path
) -> None:
    """A reward endpoint is asked once an answer."""

    def answer(body: dict[str, Any], digest: str) -> str:
        last = body["messages"][-1]
        return f"reward:{quality(last['content'])}" if last["role"] == "assistant" else echo(body, digest)

    with FakeServer(answer=answer) as server:
        judge = {"name": "reward_endpoint", "endpoint": server.url, "model": "rm", "key_env": KEY_ENV}
        assert dry(server, tmp_path / "run", prompts, judge=judge)[1] == ("judge", 24, 0)
        make(server, tmp_path / "run", prompts, judge=judge)
        assert dry(server, tmp_path / "run", prompts, judge=judge)[1] == ("judge", 24, 24)
        one_by_one, batched = (raw(server, prompts) for _ in range(2))
        batched["endpoints"]["api"]["batch"] = True
        full, half = (estimate(SynthesisRecipe.parse(r), tmp_path / "none")[0] for r in (one_by_one, batched))
    assert half.usd == pytest.approx([x / 2 for x in full.usd or ()]) and half.minutes is None


def test_sides_made_differently_must_be_meant_and_are_marked(tmp_path: Path, prompts: Path) -> None:
    sides = {
        "good": {"by": "api", "n": 1, "side": "chosen", "max_tokens": 800, "temperature": 0.7},
        "bad": {"by": "api", "n": 1, "side": "rejected", "max_tokens": 400, "temperature": 0.9},
    }
    with FakeServer() as server:
        with pytest.raises(UserError, match=r"max_tokens 800, temperature 0\.7 against max_tokens 400"):
            make(server, tmp_path / "run", prompts, answers=sides, judge=None)
        meant = {"leaks": True, "max_length_gap": None}
        pairs = make(server, tmp_path / "run", prompts, answers=sides, judge=None, pairs=meant)
    assert len(pairs) == 8
    assert "**This data leaks its label.**" in (tmp_path / "run" / "card.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judge": {"name": "rubrik", "by": "api"}}, "did you mean 'rubric'"),
        *[
            ({"judge": {"name": "rubric", "by": "api", "rubric": axes}}, message)
            for axes, message in (
                ([], "the weights of the axes must sum to more than 0"),
                ([{"name": "a", "question": "?", "weight": 0}], "must sum to more than 0"),
                (
                    [{"name": "a", "question": "?"}, {"name": "b", "question": "?", "weight": -2}],
                    "must sum to more than 0",
                ),
                ([{"name": "reason", "question": "?"}], "give each axis a name of its own"),
                ([{"name": "_a", "question": "?"}], "give each axis a name of its own"),
                ([{"name": "a", "question": "?"}, {"name": "a", "question": "!"}], "a name of its own"),
            )
        ],
        ({"judge": {"name": "llm", "endpoint": "http://a/v1", "model": "m"}}, "llm compares pairs"),
        ({"judge": {"name": "rubric", "by": "apj"}}, "judge.by is 'apj', which is no endpoint; known: api"),
        ({"judge": None}, "judge is missing"),
        ({"answers": {"a": {"by": "api", "k": 3}}}, "unknown key answers.a.k"),
        ({"answers": {"a": {"by": "api", "side": "chosen"}}, "judge": None}, "chosen and rejected"),
        ({"pairs": {"margin": -1}}, "pairs.margin"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(prompts: Path, changes: dict[str, Any], message: str) -> None:
    with FakeServer() as server, pytest.raises(UserError, match=re.escape(message)):
        SynthesisRecipe.parse(raw(server, prompts, **changes))


def test_one_model_at_one_address_has_one_set_of_settings(prompts: Path) -> None:
    with FakeServer() as server:
        given = raw(server, prompts, judge={"name": "rubric", "by": "cheap"})
        given["endpoints"]["cheap"] = {**given["endpoints"]["api"], "batch": True}
        with pytest.raises(UserError, match=r"endpoints\.api and endpoints\.cheap are one model"):
            SynthesisRecipe.parse(given)
        given["endpoints"]["cheap"] = given["endpoints"]["api"]
        SynthesisRecipe.parse(given)


@pytest.mark.parametrize(
    "endpoint",
    [
        {"key_env": KEY},
        {"base_url": f"https://user:{KEY}@host/v1"},
        {"base_url": f"https://host/v1?key={KEY}"},
    ],
)
def test_a_key_in_the_recipe_is_refused_and_not_quoted(
    prompts: Path, tmp_path: Path, endpoint: dict[str, str]
) -> None:
    with FakeServer() as server, pytest.raises(UserError, match="key_env") as refused:
        given = raw(server, prompts)
        given["endpoints"]["api"] |= endpoint
        SynthesisRecipe.parse(given)
    assert KEY not in str(refused.value)


def test_a_key_in_the_judge_of_a_recipe_is_refused_and_not_quoted(prompts: Path) -> None:
    judge = {"name": "reward_endpoint", "endpoint": "http://host/v1", "key_env": KEY}
    with FakeServer() as server, pytest.raises(UserError, match=r"judge\.key_env") as refused:
        SynthesisRecipe.parse(raw(server, prompts, judge=judge))
    assert KEY not in str(refused.value)


def test_hostile_text_stays_text_in_the_card(tmp_path: Path, prompts: Path) -> None:
    """An answer that writes Markdown and HTML comes out as an indented block, line by line."""
    attack = "7 words of answer\n# Heading\r<script>alert(1)</script> | x |\r\n<script>alert(2)</script>"

    def answer(body: dict[str, Any], digest: str) -> str:
        said = answer_and_judge(body, digest)
        return said if said.startswith("{") else f"{said}\n{attack}"

    with FakeServer(answer=answer) as server:
        make(server, tmp_path / "run", prompts)
    text = (tmp_path / "run" / "card.md").read_bytes().decode()
    hostile = [line for line in re.split(r"\r\n|\r|\n", text) if "<script>" in line]
    assert hostile and all(line.startswith("    ") for line in hostile)
    assert "alert(2)" in text


def test_a_judge_of_win_rates_scores_here_too(tmp_path: Path, prompts: Path) -> None:
    """A Nemotron-style endpoint: the conversation goes in with its answer, `reward:<float>` comes out."""

    def answer(body: dict[str, Any], digest: str) -> str:
        last = body["messages"][-1]
        return f"reward:{quality(last['content'])}.5" if last["role"] == "assistant" else echo(body, digest)

    with FakeServer(answer=answer) as server:
        judge = {"name": "reward_endpoint", "endpoint": server.url, "model": "rm", "key_env": KEY_ENV}
        pairs = make(server, tmp_path / "run", prompts, judge=judge)
    assert len(server.seen) == 8 * (3 + 3)
    assert all(pair.chosen_score == quality(pair.chosen[0]["content"]) + 0.5 for pair in pairs)


def test_the_command_line_says_what_it_would_do_and_does_it(
    tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    from boresight.cli.main import main

    with FakeServer(answer=answer_and_judge) as server:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(raw(server, prompts)))
        arguments = ["synthesize", str(path), "--run", str(tmp_path / "run")]
        for extra, code in ((["--dry-run"], 0), ([], 0), (["answers.policy.n=4", "--max-requests", "41"], 2)):
            with pytest.raises(SystemExit) as ended:
                main([*arguments, *extra])
            assert (ended.value.code or 0) == code
    said = capsys.readouterr()
    assert "8 prompts" in said.out and "Nothing was sent." in said.out and "pairs in" in said.out
    assert re.search(r"dollars\s+time", said.out)
    assert "max_requests = 41 is reached" in said.err
    assert len(server.seen) == 41


def test_leaking_sides_are_flagged_before_training_and_like_lengths_are_not(
    tmp_path: Path, prompts: Path
) -> None:
    """A server whose answers grow with `max_tokens`, as the study's did: 800 against 400."""
    from boresight.checks.data.examples import Examples
    from boresight.checks.data.shortcuts import length_leak

    def answer(body: dict[str, Any], digest: str) -> str:
        system, user = (message["content"] for message in body["messages"])
        return f"{system} {(echo(body, user) + ' ') * (body['max_tokens'] // 200)}"

    def sides(chosen: int, rejected: int) -> dict[str, Any]:
        return {
            "good": {"by": "api", "n": 1, "side": "chosen", "max_tokens": chosen, "system": "Be good."},
            "bad": {"by": "api", "n": 1, "side": "rejected", "max_tokens": rejected, "system": "Be poor."},
        }

    found = {}
    with FakeServer(answer=answer) as server:
        write_prompts(prompts, 60)
        for rejected in (400, 800):
            meant = {"leaks": True, "max_length_gap": None}
            folder = tmp_path / str(rejected)
            pairs = make(server, folder, prompts, answers=sides(800, rejected), judge=None, pairs=meant)
            found[rejected] = length_leak(Examples(pairs))
    assert found[400] is not None and "chosen answer is the longer one" in found[400].why
    assert found[800] is None
    assert "**Length gives the label away**" in (tmp_path / "400" / "card.md").read_text()
