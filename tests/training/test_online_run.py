"""Whole runs that sample: what rewards are given, and what becomes of completions that they fail on."""

from __future__ import annotations

import json
import math

import pytest
import torch

import boresight
from boresight.config.reward import RewardConfig
from boresight.core.errors import UserError
from boresight.core.files import write_state
from boresight.core.schema import Prompt
from boresight.scorers.judges import reward_model
from boresight.scorers.rewards import RewardSum
from boresight.training.checkpoints.rewind import logs_now, rewind
from boresight.training.logging import reward_failures
from tests.tiny import tiny_model, tiny_tokenizer

COLOURS = ("red", "green", "blue", "white", "grey", "black", "pink", "brown")


def fails_on_red(prompts, completions, rows):
    """Takes the conversation apart as a user's reward would; raises on one prompt."""
    said = [turns[-1]["content"] for turns in prompts]
    assert all(turns[-1]["role"] == "user" for turns in prompts)
    if any("red" in text for text in said):
        raise RuntimeError("red is not for me")
    return [float(len(text) % 7) for text in completions]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A model, a reward model and prompts."""
    monkeypatch.setattr("boresight.core.files.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    model, tokenizer = tiny_model(max_position_embeddings=1024), tiny_tokenizer()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    make_reward_model(tmp_path)
    rows = ({"id": colour, "prompt": f"Say {colour}."} for colour in COLOURS)
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def make_reward_model(folder):
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    scorer = AutoModelForSequenceClassification.from_pretrained(
        folder / "model", num_labels=1, dtype=torch.float32
    )
    with torch.no_grad():
        scorer.score.weight.mul_(50)
    scorer.config.pad_token_id = 0
    scorer.save_pretrained(folder / "reward")
    tiny_tokenizer().save_pretrained(folder / "reward")


def recipe(method, *rewards):
    return {
        "method": {"name": method},
        "model": {"name": "model", "device": "cpu"},
        "data": {"train": "prompts.jsonl", "eval_rows": 0},
        "optim": {"lr": 1e-3},
        "reward": list(rewards),
        "rollout": {"k": 2, "max_new_tokens": 6},
        "train": {"batch": 8, "steps": 2},
        "evaluate": {"prompts": "prompts.jsonl", "samples": 1, "max_new_tokens": 6, "kl_rows": 0},
        "check": {"allow": ["reward-fails", "reward-constant", "learning-rate-budget"], "probes": 0},
    }


def test_a_completion_that_a_reward_raises_on_is_told_kept_and_missing(place, capsys):
    found = boresight.train(recipe("rloo", {"function": f"{__name__}:fails_on_red"}), run="run")
    lines = [json.loads(line) for line in (place / "run" / reward_failures.FILE).read_text().splitlines()]
    assert [(line["step"], line["id"]) for line in lines] == [(1, "red"), (1, "red"), (2, "red"), (2, "red")]
    assert {line["error"] for line in lines} == {"RuntimeError: red is not for me"}
    assert found.series("reward_failures")[1] == [2, 2]
    assert found.series("unscorable")[1] == pytest.approx([2 / 16, 2 / 16])
    out = capsys.readouterr().out
    assert "step 1: 2 completions could not be judged and count as missing, the first: " in out
    assert (
        f"RuntimeError: red is not for me, on {lines[0]['completion']!r} to prompt 'red'; all are in" in out
    )
    assert "evaluation after step 0: 1 completion could not be judged" in out
    after = found.metric("reward").after
    assert (after.n, after.missing) == (len(COLOURS) - 1, 1)


def scores_every_second(prompts, completions, rows):
    """With k = 2, each group has one known reward, so none has an advantage."""
    return [float(len(text) % 7) if i % 2 == 0 else None for i, text in enumerate(completions)]


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_a_step_without_a_gradient_logs_why(place, method):
    boresight.train(recipe(method, {"function": f"{__name__}:scores_every_second"}), run="run", quiet=True)
    lines = [json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["split"] == "train"]
    assert [line["skipped"] for line in steps] == [1.0, 1.0]
    for line in steps:
        assert (line["unscorable"], line["too_few_scored"], line["zero_variance"]) == (0.5, 1.0, 0.0)
        assert 0 <= line["truncated"] <= 1 and "loss" not in line


GOLD = []
"""Gold answers that `right_number` was given."""


def right_number(prompts, completions, rows):
    """A user's verifier of GSM8K: the number after `####` in the gold answer must be in the completion."""
    GOLD.extend(row["answer"] for row in rows)
    numbers = [row["answer"].rpartition("#### ")[2] for row in rows]
    return [float(number in text) for number, text in zip(numbers, completions, strict=True)]


def test_gold_answers_reach_a_users_reward_function(place):
    """Rows as GSM8K has them are prompts here; their answers are for the verifier."""
    gold = [f"Twice {n}.\n#### {2 * n}" for n in range(8)]
    rows = ({"question": f"How much is {n} + {n}?", "answer": answer} for n, answer in enumerate(gold))
    (place / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    GOLD.clear()
    made = recipe("rloo", {"function": f"{__name__}:right_number"})
    found = boresight.train(made, run="run", quiet=True)
    assert set(GOLD) == set(gold)
    assert len(found.series("reward")[1]) == 2 and not (place / "run" / reward_failures.FILE).exists()


def for_trl(completions, solution, completion_ids, log_metric, **kwargs):
    """A reward function as TRL's documentation has them, for a data set of chat prompts."""
    GOLD.extend(solution)
    assert {"prompts", "level"} <= set(kwargs)
    log_metric("tokens", sum(map(len, completion_ids)))
    texts = [completion[0]["content"] for completion in completions]
    return [
        None if ids == [] else float(s in t)
        for s, t, ids in zip(solution, texts, completion_ids, strict=True)
    ]


def test_a_reward_function_and_a_data_set_for_trl_run_unchanged(place):
    ask = [{"role": "user", "content": "How much is 2 + 2?"}]
    rows = [{"prompt": ask, "solution": str(n), "level": n} for n in range(8)]
    (place / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    GOLD.clear()
    found = boresight.train(recipe("rloo", {"function": f"{__name__}:for_trl"}), run="run", quiet=True)
    assert set(GOLD) == {str(n) for n in range(8)}
    assert len(found.series("reward")[1]) == 2


def test_a_column_that_the_data_lack_stops_the_run_before_it_starts(place):
    made = recipe("rloo", {"function": f"{__name__}:for_trl"})
    for _ in range(2):  # the second time, what was looked at before is in the cache
        with pytest.raises(UserError, match="asks for the column solution, which no row has"):
            boresight.train(made, run="run", quiet=True)
    assert not (place / "run").exists()


def test_a_row_without_a_gold_answer_stops_the_run_before_it_starts(place):
    """The last of the rows, which no look at the first few would find."""
    rows = [{"id": f"p{n}", "numbers": [n, 2], "target": n + 2, "prompt": "?"} for n in range(8)]
    del rows[-1]["target"]
    (place / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _ in range(2):
        with pytest.raises(UserError, match=r"row p7: .*not a Countdown problem"):
            boresight.train(recipe("rloo", {"function": "countdown"}), run="run", quiet=True)
    assert not (place / "run").exists()


def test_a_resumed_run_forgets_failures_of_steps_that_it_repeats(tmp_path):
    (tmp_path / "checkpoints/step-2").mkdir(parents=True)
    for step in (1, 2, 3):
        failure = {"id": "p", "function": "f", "error": "E", "completion": "two\u2028lines"}
        reward_failures.keep(tmp_path, step, [failure])
        if step == 2:
            write_state(tmp_path / "checkpoints/step-2/state.json", {"logs": logs_now(tmp_path)})
    kept = (tmp_path / reward_failures.FILE).read_text(encoding="utf-8").split("\n")[:2]
    with (tmp_path / reward_failures.FILE).open("a") as file:
        file.write('{"step": 2, "torn')
    rewind(tmp_path, tmp_path / "checkpoints/step-2")
    assert (tmp_path / reward_failures.FILE).read_text(encoding="utf-8") == "\n".join([*kept, ""])
    assert [json.loads(line)["step"] for line in kept] == [1, 2]


@pytest.mark.parametrize("method", ["rloo", "xpo"])
def test_a_reward_model_is_a_reward(place, method):
    """Every sample has a finite score, and so has every held-out answer."""
    found = boresight.train(
        recipe(method, {"judge": {"name": "reward_model", "model": "reward", "device": "cpu"}}),
        run="run",
        quiet=True,
    )
    assert all(math.isfinite(value) for value in found.series("reward")[1])
    assert found.metric("reward").after.n == len(COLOURS)
    assert not (place / "run" / reward_failures.FILE).exists()


def test_a_judge_gives_its_scores_and_says_why_it_has_none(place):
    judge = {"name": "reward_model", "model": "reward", "device": "cpu", "max_length": 40}
    turns = [{"role": "user", "content": "Say red."}]
    answers = ["red", "word " * 60]
    got = RewardSum([RewardConfig(judge=judge, weight=2.0)])([Prompt(turns, "p")] * 2, answers)
    (expected,) = reward_model.build(
        reward_model.Config(**{k: v for k, v in judge.items() if k != "name"})
    ).score([Prompt(turns, "p")], answers[:1])
    assert got.total[0] == pytest.approx(2 * expected.value) and got.by_function == {
        "reward_model": [got.total[0] / 2, pytest.approx(math.nan, nan_ok=True)]
    }
    assert math.isnan(got.total[1]) and got.missing == 1
    assert [(f.index, f.completion, f.error) for f in got.failures] == [
        (1, answers[1], "longer than 40 tokens")
    ]


@pytest.mark.parametrize(
    ("reward", "complaint"),
    [
        ({}, "set exactly one of `function` and `judge`"),
        (
            {"function": "countdown", "judge": {"name": "countdown"}},
            "set exactly one of `function` and `judge`",
        ),
        ({"judge": {"model": "reward"}}, "reward.judge.name is missing; set it to one of checks"),
        ({"judge": {"name": "reward_modl"}}, "did you mean 'reward_model'"),
        (
            {"judge": {"name": "checks", "chek": "x"}},
            "unknown key reward.judge.chek; did you mean 'reward.judge.check'",
        ),
        (
            {"judge": {"name": "llm", "endpoint": "http://127.0.0.1:1/v1", "model": "m"}},
            "compares two answers",
        ),
        (
            {"judge": {"name": "reward_endpoint", "key_env": "sk-planted"}},
            "must be the name of an environment",
        ),
        (
            {"judge": {"name": "reward_endpoint", "model": "m", "budget": {"max_usd": 1.0}}},
            r"^reward\.judge\.budget\.max_usd: the price of m is not known",
        ),
    ],
)
def test_a_mistake_in_a_reward_is_one_sentence(reward, complaint):
    from boresight.config.recipe import Recipe
    from boresight.core.errors import UserError
    from boresight.training.build import rewards_of

    with pytest.raises(UserError, match=complaint) as found:
        rewards_of(Recipe.parse(recipe("rloo", reward)))
    assert "\n" not in str(found.value) and "sk-planted" not in str(found.value)


def test_a_reward_whose_endpoint_has_no_money_left_names_the_command_that_resumes(place, monkeypatch):
    pytest.importorskip("openai", reason="the client needs the extra [api]")
    from boresight.llm.replies.failures import Stopped
    from tests.llm.fake_server import FakeServer

    monkeypatch.setenv("A_KEY", "sk-planted")
    limits = {"max_concurrency": 1}

    def from_the_second_step_on(digest, attempt):
        return "quota" if (place / "run" / "checkpoints").exists() else None

    with FakeServer(
        answer=lambda body, digest: f"reward:{int(digest[:4], 16)}", faults=from_the_second_step_on
    ) as server:
        judge = {
            "name": "reward_endpoint", "endpoint": server.url, "model": "m", "key_env": "A_KEY",
            "limits": limits,
        }  # fmt: skip
        made = recipe("rloo", {"judge": judge})
        made["train"]["save_every"] = 1
        with pytest.raises(Stopped, match=r"add credit there; .* `boresight train run` resumes it\.$"):
            boresight.train(made, run="run", quiet=True)
        server.faults = lambda digest, attempt: None
        found = boresight.train(made, run="run", quiet=True)
    assert found.series("reward")[0] == [1, 2] and set(server.answered.values()) == {1}


def test_a_spent_budget_of_a_judge_ends_the_run_and_a_raised_one_resumes_it(place, monkeypatch):
    """The check before the run and the answers of the start model are judged first, by the 24 requests."""
    pytest.importorskip("openai", reason="the client needs the extra [api]")
    from boresight.llm.replies.failures import Stopped
    from tests.llm.fake_server import FakeServer

    monkeypatch.setenv("A_KEY", "sk-planted")
    with FakeServer(answer=lambda body, digest: f"reward:{int(digest[:4], 16)}") as server:
        judge = {
            "name": "reward_endpoint", "endpoint": server.url, "model": "m", "key_env": "A_KEY",
            "limits": {"max_concurrency": 1}, "budget": {"max_requests": 24},
        }  # fmt: skip
        made = recipe("rloo", {"judge": judge})
        made["train"] |= {"save_every": 1, "eval_every": 2}
        with pytest.raises(Stopped, match=r"reward reward_endpoint: failed for all 16 .* rollout 1, .*= 24"):
            boresight.train(made, run="run", quiet=True)
        config = place / "run" / "config.yaml"
        config.write_text(config.read_text().replace("max_requests: 24", "max_requests: 99"))
        found = boresight.train("run/config.yaml", run="run", quiet=True)
    assert found.series("reward")[0] == [1, 2] and set(server.answered.values()) == {1}


def fails(prompts, completions, rows):
    raise RuntimeError("no verifier here")


def test_a_reward_that_fails_for_every_completion_ends_the_run(place):
    with pytest.raises(
        UserError, match=r"for all 16 completions of rollout 1, .* no verifier here; .*resumes"
    ):
        boresight.train(recipe("rloo", {"function": f"{__name__}:fails"}), run="run", quiet=True)
