"""Loops are found by hand-made examples, and the probe asks the policy."""

import json
import math

import pytest

from boresight.core.schema import Prompt
from boresight.data.stop_tokens import wire_stop_tokens
from boresight.training.probes.generations import answer_probe, has_loop, support
from tests.checks import builders as b
from tests.tiny import tiny_model, tiny_tokenizer


def test_a_loop_is_a_period_that_fills_the_end():
    assert has_loop([9, 8, *[5] * 16])  # one token, sixteen times
    assert has_loop([1, 2, 3, *[4, 5, 6, 7] * 4])  # four tokens, four times
    assert has_loop([0, *list(range(1, 13)) * 3])  # twelve tokens, three times
    assert not has_loop([9, 8, *[5] * 12])  # too short to mean anything
    assert not has_loop(list(range(40)))
    assert not has_loop([*[5] * 20, 1, 2, 3])  # it came out of the loop
    assert not has_loop([])


def test_the_probe_says_for_each_prompt_whether_its_answer_ended(tmp_path):
    tokenizer = tiny_tokenizer()
    policy = tiny_model(vocab=len(tokenizer))
    wire_stop_tokens(policy, tokenizer)
    asked = [Prompt([{"role": "user", "content": f"say {i}"}], f"q-{i}") for i in range(6)]
    (probe,) = answer_probe(b.recipe("dpo", "check.probes=4"), policy, tokenizer, asked, tmp_path)
    found = probe(0)
    assert found["stopped_share"].keys() == {f"q-{i}" for i in range(4)}
    assert set(found["repetition_share"].values()) <= {0.0, 1.0}
    assert all(1 <= tokens <= 64 for tokens in found["answer_len"].values())
    assert found == probe(5)  # greedy
    kept = [json.loads(line) for line in (tmp_path / "probes.jsonl").read_text().splitlines()]
    assert [(k["step"], k["id"]) for k in kept] == [(s, f"q-{i}") for s in (0, 5) for i in range(4)]
    assert kept[0]["answer"] == kept[4]["answer"] and kept[0]["finish"] in ("stop", "length")


def test_no_probe_where_none_is_wanted_or_a_reward_asks_already(tmp_path):
    asked = [Prompt([{"role": "user", "content": "x"}], "q")]
    assert answer_probe(b.recipe("dpo", "check.probes=0"), None, None, asked, tmp_path) == []
    assert (
        answer_probe(b.recipe("rloo", reward=[{"function": "countdown"}]), None, None, asked, tmp_path) == []
    )


def test_the_log_says_how_many_answers_there_were_and_how_sure_their_means_are():
    """Lengths 2, 4, 4, 6: variance 8/3, error √(8/3 / 4). Two rewards, 0 and 1: √(1/2 / 2) = 1/2."""
    by_row = {
        "stopped_share": dict.fromkeys("abcd", 1.0),
        "answer_len": dict(zip("abcd", (2.0, 4.0, 4.0, 6.0), strict=True)),
        "reward": {"a": 0.0, "b": math.nan, "c": 1.0, "d": math.nan},
    }
    assert support(by_row) == {
        "answers": 4.0,
        "answer_len_error": pytest.approx(math.sqrt(2 / 3)),
        "reward_error": pytest.approx(0.5),
    }
    assert support({"accuracy": {"a": 1.0}}) == {}
