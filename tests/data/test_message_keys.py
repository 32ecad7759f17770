"""What messages hold besides words: it reaches the template, or the row is refused by name."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Preference, Prompt
from boresight.data.chat import encode_prompt
from boresight.data.prepare import DatasetCache, prepare
from boresight.data.reading.load import read
from boresight.data.reading.split import hold_out
from boresight.data.reading.turns import BadField, to_messages
from boresight.data.write import write_examples
from tests.encode import encode_demonstration, encode_preference
from tests.tiny import tiny_tokenizer

TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content and enable_thinking is not false %}"
    "<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<call>{{ call.function | tojson }}</call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOLS = [{"type": "function", "function": {"name": "temp"}}]


def recipe_of(file) -> Recipe:
    return Recipe.parse({"method": {"name": "sft"}, "data": {"train": str(file)}, "optim": {"lr": 1e-4}})


def call(room: str) -> list[dict]:
    return [{"type": "function", "function": {"name": "temp", "arguments": {"room": room}}}]


def u(content: str) -> dict:
    return {"role": "user", "content": content}


def a(content: str, **rest: object) -> dict:
    return {"role": "assistant", "content": content, **rest}


@pytest.fixture
def tokenizer():
    """A tokenizer whose template writes tools, calls and thoughts."""
    made = tiny_tokenizer()
    made.chat_template = TEMPLATE
    return made


def scored(tokenizer, completion) -> str:
    return tokenizer.decode(completion.ids[completion.mask].tolist(), skip_special_tokens=False)


def test_calls_tools_and_results_reach_the_template(jsonl, tokenizer):
    row = {
        "messages": [
            u("How warm?"),
            a("", tool_calls=call("cellar")),
            {"role": "tool", "content": "9.5", "name": "temp"},
            a("It is 9.5."),
        ],
        "tools": TOOLS,
    }
    (example,) = read(jsonl(row)).examples
    (made,) = encode_demonstration(tokenizer, example)
    assert scored(tokenizer, made.completions[0]) == (
        '<call>{"name": "temp", "arguments": {"room": "cellar"}}</call><|im_end|>It is 9.5.<|im_end|>'
    )
    assert '"function": {"name": "temp"}' in tokenizer.decode(made.prompt.tolist())
    assert "tools" not in example.meta


def test_pairs_that_differ_in_their_call_alone_are_two_answers(jsonl, tokenizer):
    answers = {
        side: [a("Let me look.", tool_calls=call(room))]
        for side, room in (("chosen", "cellar"), ("rejected", "attic"))
    }
    loaded = read(jsonl({"prompt": [u("How warm?")], **answers, "tools": TOOLS}))
    assert loaded.identical == 0
    better, worse = (
        scored(tokenizer, c) for c in encode_preference(tokenizer, loaded.examples[0]).completions
    )
    assert "cellar" in better and "attic" in worse


def test_thoughts_are_trained_and_options_of_the_template_are_heeded(jsonl, tokenizer):
    row = {"messages": [u("3 + 4?"), a("7", reasoning_content="four more")]}
    (example,) = read(jsonl(row)).examples
    assert scored(tokenizer, encode_demonstration(tokenizer, example)[0].completions[0]) == (
        "<think>four more</think>7<|im_end|>"
    )
    (example,) = read(jsonl({**row, "chat_template_kwargs": {"enable_thinking": False}})).examples
    with pytest.raises(UserError, match="writes nothing of `reasoning_content` in turn 2"):
        encode_demonstration(tokenizer, example)


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("tool_calls", [u("q"), a("x", tool_calls=call("cellar"))]),
        ("function_call", [u("q"), a("", function_call={"name": "temp", "arguments": "{}"})]),
        ("thinking", [u("q"), a("x", thinking="so")]),
        ("tool_calls", [u("q"), a("x", tool_calls=call("cellar")), u("and?"), a("y")]),
    ],
)
def test_what_the_template_leaves_out_is_refused_by_name(key, row, jsonl):
    (example,) = read(jsonl({"messages": row})).examples
    with pytest.raises(
        UserError, match=rf"row 'row-1': the chat template writes nothing of `{key}` in turn 2"
    ):
        encode_demonstration(tiny_tokenizer(), example)


def test_a_prompt_with_tools_is_refused_too(jsonl):
    (example,) = read(jsonl({"prompt": [u("q")], "tools": TOOLS})).examples
    shown = Demonstration([*example.prompt, a("x")], "1")
    with pytest.raises(UserError, match="writes nothing of `tools` in turn 1"):
        encode_demonstration(tiny_tokenizer(), shown)


def test_tools_go_wherever_the_conversation_goes(jsonl, tokenizer):
    (example,) = read(jsonl({"system": "S", "prompt": "q", "tools": TOOLS})).examples
    assert example == Prompt([{"role": "system", "content": "S", "tools": TOOLS}, u("q")], "row-1")
    assert "temp" in tokenizer.decode(encode_prompt(tokenizer, example.prompt).tolist())


def test_arguments_and_tools_may_be_json_text_and_nulls_are_absent(jsonl):
    text = [{"type": "function", "function": {"name": "temp", "arguments": '{"room": "cellar"}'}, "id": None}]
    row = {"messages": [u("q"), a("", tool_calls=text, function_call=None)], "tools": '[{"name": "temp"}]'}
    (example,) = read(jsonl(row)).examples
    assert example.messages == [{**u("q"), "tools": [{"name": "temp"}]}, a("", tool_calls=call("cellar"))]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [u("q"), a("x", images=["a.png"])]}, "turn 2 .* has `images`; only text"),
        ({"prompt": "q", "completion": "x", "images": ["a.png"]}, "`images` is not text"),
        ({"prompt": "q", "tools": ["hammer"]}, "no list of descriptions"),
        ({"prompt": "q", "chat_template_kwargs": {"tokenize": True}}, "`tokenize`, which is not the data's"),
        ({"messages": [u("q"), a("x", tool_calls="temp()")]}, "`tool_calls` that are no list of calls"),
        ({"messages": [u("q"), a("")]}, "turn 2 .* is empty"),
    ],
)
def test_what_cannot_be_used_is_a_bad_row(row, message, jsonl):
    with pytest.raises(UserError, match=message):
        read(jsonl(row))


def test_references_that_the_template_leaves_out_are_named_once(jsonl, tokenizer):
    result = {"role": "tool", "content": "12", "tool_call_id": "c1", "name": "temp"}
    asked = [[u(f"q{n}"), a("", tool_calls=call("cellar")), result, a("12 degrees")] for n in range(7)]
    rows = [{"messages": turns} for turns in asked]
    data = DatasetCache().of(recipe_of(jsonl(*rows)), "demonstration")
    prepare(data, tokenizer, Console(file=(said := io.StringIO()), width=200))
    assert said.getvalue().splitlines() == [
        "train: read 7 demonstrations, chat messages",
        "held out: 1 row where data.eval_rows=200; at most a fifth of the 7 rows is held out.",
        "train: the chat template writes nothing of `tool_call_id` (6) and `name` (6) of tool results",
        "held out: the chat template writes nothing of `tool_call_id` (1) and `name` (1) of tool results",
    ]
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE.replace("{{ m.content }}", "{{ m.name }}{{ m.content }}")
    prepare(data, tokenizer, Console(file=(said := io.StringIO()), width=200))
    assert "writes nothing of `tool_call_id` (6) of tool results" in said.getvalue()


def test_other_keys_are_counted_and_named_once(jsonl):
    turns = [{**u("q"), "name": "Ada"}, a("x", name="bot", mood="calm", refusal=None)]
    loaded = read(jsonl({"messages": turns}, {"messages": turns}))
    assert loaded.sentence.endswith("; keys of messages that are not used: `name` (4), `mood` (2)")
    assert loaded.examples[0].messages == [u("q"), a("x")]


@pytest.mark.parametrize(
    ("role", "read_as"), [("User", "user"), ("model", "assistant"), ("observation", "tool")]
)
def test_roles_under_other_names(role, read_as):
    assert to_messages([{"role": role, "content": "x"}], "messages")[0]["role"] == read_as
    with pytest.raises(BadField, match="known roles: system"):
        to_messages([{"role": "narrator", "content": "x"}], "messages")


def test_prompts_that_differ_in_tools_are_two_prompts():
    examples = [Prompt([{**u("q"), "tools": [{"name": str(n)}]}], str(n)) for n in range(10)]
    train, held = hold_out(examples, 2, seed=0)
    assert (len(train), len(held)) == (8, 2)


def test_writing_keeps_the_keys_or_refuses(tmp_path):
    pair = Preference([{**u("q"), "tools": TOOLS}], [a("", tool_calls=call("x"))], [a("y")], "1")
    write_examples([pair], tmp_path / "pairs.jsonl")
    assert read(tmp_path / "pairs.jsonl").examples == [pair]
    with pytest.raises(UserError, match="Parquet keeps role and words only, and a message has `tools`"):
        write_examples([pair], tmp_path / "pairs.parquet")


def test_parquet_leaves_out_weights_that_say_nothing_and_refuses_others(tmp_path):
    plain = Preference([u("q")], [a("x")], [a("y")], "1")
    write_examples([replace(plain, chosen=[a("x", weight=1)])], tmp_path / "pairs.parquet")
    assert read(tmp_path / "pairs.parquet").examples == [plain]
    with pytest.raises(UserError, match="a message has `weight`"):
        write_examples([replace(plain, prompt=[u("q"), a("z", weight=0), u("r")])], tmp_path / "p.parquet")


SPELLINGS = [
    ("weight", 0, 1),
    ("loss_weight", 0.0, 1.0),
    ("train", False, True),
    ("trainable", "false", "true"),
    ("loss", False, True),
    ("masked", True, False),
]


@pytest.mark.parametrize(("key", "no", "yes"), SPELLINGS)
def test_turns_of_weight_0_are_context(key, no, yes, jsonl, tokenizer):
    turns = [{**u("Spell pear."), key: no}, a("PEAR", **{key: no}), u("Wrong."), a("p-e-a-r", **{key: yes})]
    loaded = read(jsonl({"messages": turns}))
    assert "not used" not in loaded.sentence
    (row,) = encode_demonstration(tokenizer, loaded.examples[0])
    assert scored(tokenizer, row.completions[0]) == "p-e-a-r<|im_end|>"
    assert "PEAR" in tokenizer.decode(row.prompt.tolist())


def test_a_turn_of_weight_0_after_the_first_scored_one(jsonl, tokenizer):
    turns = [u("1"), a("one"), u("2"), a("too", weight=0), u("3"), a("three")]
    (example,) = read(jsonl({"messages": turns})).examples
    assert scored(tokenizer, encode_demonstration(tokenizer, example)[0].completions[0]) == (
        "one<|im_end|>three<|im_end|>"
    )


def test_a_pair_whose_answers_begin_with_context(jsonl, tokenizer):
    both = {s: [a("So?", weight=0), u("Yes."), a(w)] for s, w in (("chosen", "good"), ("rejected", "bad"))}
    (pair,) = read(jsonl({"prompt": [u("q")], **both})).examples
    row = encode_preference(tokenizer, pair)
    assert [scored(tokenizer, c) for c in row.completions] == ["good<|im_end|>", "bad<|im_end|>"]


@pytest.mark.parametrize(("key", "no", "yes"), SPELLINGS)
def test_weights_of_turns_that_are_never_learned_are_counted(key, no, yes, jsonl):
    """They ask for something that no method does: only turns of the assistant are learned."""
    asking = {"messages": [{"role": "system", "content": "S", key: no}, {**u("q"), key: yes}, a("x")]}
    human = {"messages": [{"from": "Human", "value": "q", key: yes}, a("x", **{key: yes})]}
    loaded = read(jsonl(asking, asking, human))
    assert loaded.sentence.endswith(
        f"; keys of messages that are not used: `{key} of user` (2), `{key} of human` (1)"
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (a("x", weight=0), "has no turn to learn"),
        (a("x", weight=0.5), r"has the weight 0\.5; a turn counts \(1\) or does not \(0\)"),
        (a("x", weight=1, train=False), "`weight` and `train`, which disagree"),
    ],
)
def test_weights_that_cannot_be_followed(answer, message, jsonl):
    with pytest.raises(UserError, match=message):
        read(jsonl({"messages": [u("q"), answer]}))


def test_an_answer_of_weight_0_is_no_gold_answer(jsonl):
    turns = [u("1"), a("one"), u("2"), a("too", weight=0)]
    (example,) = read(jsonl({"messages": turns}), kind="prompt").examples
    assert example == Prompt(turns[:3], "row-1")
