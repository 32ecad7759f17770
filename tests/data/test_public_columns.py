"""Columns of public sets beside those of a layout: earlier rounds, context, verdicts, other tools' pairs."""

from __future__ import annotations

import json

import pytest

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Preference, Prompt
from boresight.data.reading.load import collect, read


def u(content):
    return {"role": "user", "content": content}


def a(content):
    return {"role": "assistant", "content": content}


def s(content):
    return {"role": "system", "content": content}


@pytest.fixture
def loaded(tmp_path):
    """`loaded(row, …)` reads the rows as a file."""

    def of(*rows, **settings):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read(path, **settings)

    return of


ROUNDS = [["Hi", "Hello"]]
MESSAGES = [u("Hi"), a("Hello")]


@pytest.mark.parametrize("history", [ROUNDS, MESSAGES, json.dumps(ROUNDS)])
@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"prompt": "q", "response": "x"}, Demonstration([*MESSAGES, u("q"), a("x")], "row-1", {}, True)),
        ({"question": "q", "answer": "x"}, Demonstration([*MESSAGES, u("q"), a("x")], "row-1", {}, True)),
        ({"instruction": "q", "output": "x"}, Demonstration([*MESSAGES, u("q"), a("x")], "row-1", {}, True)),
        (
            {"prompt": "q", "chosen": "x", "rejected": "y"},
            Preference([*MESSAGES, u("q")], [a("x")], [a("y")], "row-1"),
        ),
        ({"prompt": "q", "system": "S"}, Prompt([s("S"), *MESSAGES, u("q")], "row-1", {}, True)),
    ],
)
def test_earlier_rounds_come_before_the_prompt(loaded, row, found, history):
    assert list(loaded({**row, "history": history}).examples) == [found]


@pytest.mark.parametrize("history", [[["only a question"]], [{"ask": "Hi"}], [["Hi", ""]]])
def test_a_history_that_cannot_be_read_is_a_bad_row(loaded, history):
    with pytest.raises(UserError, match=r"row 1: `history` (is not a list of \[question, answer\]|round 1)"):
        loaded({"prompt": "q", "response": "x", "history": history})


def test_a_list_of_something_else_is_no_history(loaded):
    (example,) = loaded({"prompt": "q", "response": "x", "history": [1, 2]}).examples
    assert example.meta == {"history": [1, 2]}


ABOUT = {"context": "The sky is blue."}


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        (
            {"question": "q", "answer": "x"},
            {"instruction": "question", "input": "context", "output": "answer"},
        ),
        ({"prompt": "q", "chosen": "x", "rejected": "y"}, {"instruction": "prompt", "input": "context"}),
    ],
)
def test_text_that_is_in_no_prompt_is_named_and_the_mapping_adds_it(loaded, row, columns):
    said = "{" + ", ".join(f"{name}: {column}" for name, column in columns.items()) + "}"
    sentence = loaded(row | ABOUT, row | ABOUT, row).sentence
    assert sentence.endswith(
        f"; text that is in no prompt: `context` (2 rows) (data.columns='{said}' adds it)"
    )
    mapped = loaded(row | ABOUT, columns=columns)
    (example,) = mapped.examples
    prompt = example.prompt if isinstance(example, Preference) else example.messages[:1]
    assert prompt == [u("q\n\nThe sky is blue.")]
    assert "no prompt" not in mapped.sentence


@pytest.mark.parametrize(
    "row", [{"question": "The sky is blue. q", "answer": "x"}, {"question": "q", "answer": "x"}]
)
def test_text_that_is_in_the_prompt_or_empty_is_not_named(loaded, row):
    given = ABOUT if "sky" in row["question"] else {"context": " "}
    assert "no prompt" not in loaded(row | given).sentence


def test_an_instruction_with_a_context_is_suggested_with_it(loaded):
    """databricks-dolly: without its passage, a question teaches a model to invent."""
    row = {"instruction": "q", "context": "The sky is blue.", "response": "x", "category": "closed_qa"}
    with pytest.raises(
        UserError, match=r"data\.columns='\{input: context, output: response\}' reads it as Alpaca"
    ):
        loaded(row)


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("thumbs_up", True, False),
        ("feedback", "positive", "negative"),
        ("score", 1, 0),
        ("thumbs", "up", "down"),
    ],
)
def test_answers_marked_bad_by_another_column_are_counted_and_can_be_read(loaded, column, good, bad):
    rows = [{"prompt": "q", "response": "x", column: value} for value in (good, bad, good)]
    columns = {"label": column}
    expected = f"; `{column}` is negative in 1 of 3 rows, and they are learned: if it judges the answers, "
    assert expected in loaded(*rows).sentence
    assert [example.label for example in loaded(*rows, columns=columns).examples] == [True, False, True]


@pytest.mark.parametrize(
    "values",
    [{"rating": (1, 5)}, {"verified": (True, True)}, {"redacted": (True, False)}, {"score": (0, 1, 0.5)}],
)
def test_columns_that_judge_nothing_or_otherwise_are_not_named(loaded, values):
    ((column, found),) = values.items()
    rows = [{"prompt": "q", "response": "x", column: value} for value in found]
    assert "negative" not in loaded(*rows).sentence


@pytest.mark.parametrize("asked", ["conversations", "messages", "prompt"])
@pytest.mark.parametrize(("chosen", "rejected"), [(a("x"), a("y")), ("x", "y")])
def test_pairs_whose_answers_are_single_messages_or_text(loaded, asked, chosen, rejected):
    """axolotl has `messages` and LLaMA-Factory `conversations`."""
    found = loaded({asked: [u("q")], "chosen": chosen, "rejected": rejected})
    assert list(found.examples) == [Preference([u("q")], [a("x")], [a("y")], "row-1")]


def test_a_conversation_beside_a_prompt_and_two_texts_is_not_a_second_layout(loaded):
    row = {"prompt": "q", "messages": [u("q"), a("x")], "chosen": "x", "rejected": "y"}
    assert loaded(row).layout == "plain_pairs"


def test_a_conversation_in_the_singular(loaded):
    """LMSYS-Chat-1M and WildChat."""
    row = {"conversation_id": "1", "conversation": [u("q"), a("x")], "language": "English"}
    assert [example.messages for example in loaded(row).examples] == [[u("q"), a("x")]]


def test_problems_for_a_verifier_are_prompts(loaded):
    """allenai/RLVR-GSM and its like; without a reference, a conversation without an answer is a bad row."""
    found = loaded({"messages": [u("q")], "ground_truth": "72", "dataset": "gsm8k"})
    assert list(found.examples) == [Prompt([u("q")], "row-1", {"ground_truth": "72", "dataset": "gsm8k"})]
    with pytest.raises(UserError, match="ends with a turn of the user"):
        loaded({"messages": [u("q")], "dataset": "gsm8k"})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input": "q", "chosen": "x", "rejected": "y", "generations": ["x", "y"]}, r"\{prompt: input\}"),
        ({"instruction": "q", "output_1": "x", "output_2": "y", "preference": 2}, "has several answers"),
        (
            {"prompt": "q", "chosen": ["x"], "rejected": ["y", "z"]},
            "`prompt` is text, `chosen` is a list that begins with text",
        ),
    ],
)
def test_errors_name_the_cause(loaded, row, message):
    with pytest.raises(UserError, match=message):
        loaded(row)


def test_bad_rows_are_not_counted_among_the_unread(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": "q", "response": "x", "context": "c"}, {"prompt": "", "response": "x", "context": "c"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "`context` (1 row)" in collect(path).sentence
