"""`data.score`: which turns of the assistant are learned where the data do not say."""

from __future__ import annotations

import pytest

from boresight.config.recipe import DataSection
from boresight.core.errors import UserError
from boresight.core.schema import is_scored
from boresight.data.reading.split import read_split
from boresight.data.tokenize import tokenize
from tests.tiny import tiny_tokenizer


def u(content):
    return {"role": "user", "content": content}


def a(content, **more):
    return {"role": "assistant", "content": content, **more}


def split(path, kind="demonstration", **settings):
    return read_split(DataSection(train=str(path), eval_rows=0, **settings), kind, seed=0)


def learned(turns):
    return [turn["content"] for turn in turns if is_scored(turn)]


THREE = [u("1"), a("one"), u("2"), a("two"), u("3"), a("three")]


def test_all_turns_count_unless_the_last_is_asked_for(jsonl):
    file = jsonl({"messages": THREE})
    (every,) = split(file).train.examples
    (last,) = split(file, score="last").train.examples
    assert learned(every.messages) == ["one", "two", "three"]
    assert learned(last.messages) == ["three"]
    assert [turn["content"] for turn in last.messages] == [turn["content"] for turn in THREE]


@pytest.mark.parametrize(
    ("weights", "counted"),
    [
        ({1: 1}, ["one", "three"]),
        ({1: 0}, ["three"]),
        ({5: 0}, ["two"]),
        ({1: 1, 3: 0, 5: 0}, ["one"]),
        ({1: 1, 3: 1, 5: 1}, ["one", "two", "three"]),
    ],
)
def test_weights_in_the_data_win(weights, counted, jsonl):
    turns = [{**turn, "weight": weights[n]} if n in weights else turn for n, turn in enumerate(THREE)]
    (example,) = split(jsonl({"messages": turns}), score="last").train.examples
    assert learned(example.messages) == counted


def test_of_a_pair_each_answer_keeps_its_last_turn(jsonl):
    long = [a("So?"), u("Yes."), a("good")]
    file = jsonl({"prompt": [u("q")], "chosen": long, "rejected": [a("bad")]})
    loaded = split(file, "preference", score="last")
    (pair,) = loaded.train.examples
    assert (learned(pair.chosen), learned(pair.rejected)) == (["good"], ["bad"])
    assert loaded.lines == [
        "train: read 1 preference pair, TRL chat pairs, explicit prompt; "
        "2 of 3 assistant turns learned (data.score=last)"
    ]


def test_a_labeled_answer_keeps_its_last_turn(jsonl):
    """Context before the answer is not learned either way."""
    long = [a("So?"), u("Yes."), a("good")]
    file = jsonl({"prompt": THREE[:5], "completion": long, "label": False})
    loaded = split(file, "labeled", score="last")
    (example,) = loaded.train.examples
    assert (learned(example.completion), example.prompt, example.label) == (["good"], THREE[:5], False)
    assert loaded.lines[0].endswith("; 0 good, 1 bad; 1 of 2 assistant turns learned (data.score=last)")


def test_the_mask_covers_the_last_turn_alone(jsonl):
    tokenizer = tiny_tokenizer("chatml")
    examples = split(jsonl({"messages": THREE}), score="last").train.examples
    (row,) = tokenize(examples, tokenizer, max_length=500).rows
    (answer,) = row.completions
    assert tokenizer.decode(answer.ids[answer.mask].tolist()) == "three<|im_end|>"


def test_the_held_out_side_counts_the_same_turns(jsonl):
    file = jsonl(*[{"messages": THREE}] * 10)
    sides = read_split(DataSection(train=str(file), eval=str(file), score="last"), "demonstration", 0)
    assert [learned(e.messages) for e in sides.eval.examples] == [["three"]] * 10


def test_prompts_have_no_answer_to_choose_from(jsonl):
    with pytest.raises(UserError, match=r"data\.score: prompts have no answer"):
        split(jsonl({"messages": THREE}), "prompt", score="last")
