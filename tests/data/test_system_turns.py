"""`data.system`: system turns for templates that refuse them."""

from __future__ import annotations

import pytest

from boresight.config.recipe import DataSection
from boresight.core.errors import UserError
from boresight.data.reading.split import read_split
from boresight.data.tokenize import tokenize
from tests.tiny import tiny_tokenizer


def s(content, **more):
    return {"role": "system", "content": content, **more}


def u(content, **more):
    return {"role": "user", "content": content, **more}


def a(content):
    return {"role": "assistant", "content": content}


TOOLS = [{"type": "function", "function": {"name": "temp"}}]


def split(path, kind="demonstration", **settings):
    return read_split(DataSection(train=str(path), eval_rows=0, **settings), kind, seed=0)


def test_folded_into_the_next_user_turn_dropped_or_kept(jsonl):
    file = jsonl({"messages": [s("Be brief."), u("q"), a("x"), s("Now shout."), u("r"), a("Y")]})
    (kept,) = split(file).train.examples
    assert [m["role"] for m in kept.messages] == ["system", "user", "assistant"] * 2
    (folded,) = split(file, system="fold").train.examples
    assert folded.messages == [u("Be brief.\n\nq"), a("x"), u("Now shout.\n\nr"), a("Y")]
    (dropped,) = split(file, system="drop").train.examples
    assert dropped.messages == [u("q"), a("x"), u("r"), a("Y")]


@pytest.mark.parametrize(("system", "said"), [("fold", "folded into the user's"), ("drop", "left out")])
def test_they_are_counted(jsonl, system, said):
    rows = [{"prompt": [s("S"), u("q")], "chosen": [a("x")], "rejected": [a("y")]} for _ in range(3)]
    found = split(jsonl(*rows, {**rows[0], "prompt": [u("q")]}), "preference", system=system)
    assert found.lines[0].endswith(f"; 3 system turns {said} (data.system={system})")
    first, *_, last = found.train.examples
    assert first.prompt == [u("S\n\nq" if system == "fold" else "q")] and last.prompt == [u("q")]
    assert first.chosen == [a("x")]


@pytest.mark.parametrize("system", ["fold", "drop"])
def test_tools_stay_with_the_conversation(jsonl, system):
    file = jsonl({"messages": [s("S"), u("q"), a("x")], "tools": TOOLS})
    (example,) = split(file, system=system).train.examples
    assert example.messages[0]["tools"] == TOOLS and len(example.messages) == 2


def test_prompts_too(jsonl):
    (example,) = split(jsonl({"prompt": [s("S"), u("q")]}), "prompt", system="fold").train.examples
    assert example.prompt == [u("S\n\nq")]


def test_labeled_answers_too(jsonl):
    file = jsonl({"prompt": [s("S"), u("q")], "completion": [a("x")], "label": True})
    (folded,) = split(file, "labeled", system="fold").train.examples
    (dropped,) = split(file, "labeled", system="drop").train.examples
    assert (folded.prompt, dropped.prompt) == ([u("S\n\nq")], [u("q")])
    assert folded.completion == dropped.completion == [a("x")]


def test_a_template_that_refuses_the_role_says_so_and_takes_the_rest(jsonl):
    file = jsonl({"messages": [s("S"), u("q"), a("x")]}, {"messages": [u("q"), a("x")]})
    tokenizer = tiny_tokenizer("gemma")
    kept = tokenize(split(file).train.examples, tokenizer, max_length=99)
    assert len(kept.rows) == 1 and kept.dropped[0][1].endswith(
        "System role not supported; `data.system: fold` puts the system turn into the user's, `drop` leaves "
        "it out."
    )
    folded = tokenize(split(file, system="fold").train.examples, tokenizer, max_length=99)
    assert len(folded.rows) == 2
    assert "<start_of_turn>user\nS\n\nq<end_of_turn>" in tokenizer.decode(folded.rows[0].prompt)


def test_what_is_refused_for_another_reason_gets_no_such_advice(jsonl):
    tokenizer = tiny_tokenizer("gemma")
    tokenizer.chat_template = (tokenizer.chat_template or "").replace(
        "{{ bos_token }}", "{{ raise_exception('too loud') if '!' in messages[-1].content }}"
    )
    (example,) = split(jsonl({"messages": [s("S"), u("q"), a("x!")]}), system="keep").train.examples
    with pytest.raises(UserError, match=r"System role not supported; `data"):
        tokenize([example], tokenizer, max_length=99)
    (example,) = split(jsonl({"messages": [s("S"), u("q!"), a("x")]}), system="keep").train.examples
    with pytest.raises(UserError, match=r"too loud\.$"):
        tokenize([example], tokenizer, max_length=99)
