"""`read`: detection, refusals, bad rows, kinds, ids and the sentence."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Labeled, Preference, Prompt
from boresight.data.reading.load import SAMPLE, BadRow, read

Q, GOOD, BAD = (
    [{"role": r, "content": c}] for r, c in (("user", "q"), ("assistant", "good"), ("assistant", "bad"))
)
PAIR = {"prompt": "q", "chosen": "good", "rejected": "bad"}


def test_what_was_read_and_its_sentence(jsonl):
    path = jsonl(PAIR, {**PAIR, "rejected": "good", "id": 12, "topic": "t"})
    loaded = read(path)
    assert loaded.examples == [
        Preference(Q, GOOD, BAD, "row-1"),
        Preference(Q, GOOD, GOOD, "12", meta={"topic": "t"}),
    ]
    assert (loaded.layout, loaded.kind, loaded.source) == ("plain_pairs", "preference", str(path))
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.identical == 1
    assert loaded.sentence == (
        "read 2 preference pairs, plain-string pairs; 1 pair with identical answers kept"
    )


def test_thousands_are_counted_with_commas_and_one_is_singular(jsonl):
    hh = {"chosen": "\n\nHuman: q\n\nAssistant: x", "rejected": "\n\nHuman: q\n\nAssistant: y"}
    assert read(jsonl(*[hh] * 1717)).sentence == (
        "read 1,717 preference pairs, HH-RLHF transcripts, implicit prompt"
    )
    assert read(jsonl({"prompt": "q"})).sentence == "read 1 prompt, plain strings"


@pytest.mark.parametrize(
    ("wrong", "field", "message"),
    [
        ({"prompt": "q", "chosen": "good"}, "rejected", "is missing"),
        ({"prompt": "q", "chosen": "good", "rejected": None}, "rejected", "is missing"),
        ({"prompt": "q", "chosen": "", "rejected": "bad"}, "chosen", "is empty"),
        ({"prompt": " ", "chosen": "good", "rejected": "bad"}, "prompt", "is empty"),
        ({"prompt": "q", "chosen": 3, "rejected": "bad"}, "chosen", "is int, not text"),
        ({}, "prompt", "is missing"),
        (["q", "good", "bad"], "record", "is list, not an object with columns"),
    ],
)
def test_a_bad_row_stops_the_reading_or_is_counted(jsonl, wrong, field, message):
    path = jsonl(PAIR, wrong, PAIR)
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: row 2: `{field}` {message}; fix the row or set data.bad_rows=drop "
        "to leave such rows out (they are counted)."
    )
    loaded = read(path, bad_rows="drop")
    assert loaded.bad == [BadRow(2, field, message)]
    assert [example.id for example in loaded.examples] == ["row-1", "row-3"]
    assert loaded.sentence.endswith("; 1 malformed row dropped")


def test_last_role_not_assistant(jsonl):
    path = jsonl({"messages": Q + GOOD}, {"messages": Q + GOOD + Q})
    with pytest.raises(UserError, match="row 2: `messages` ends with a turn of the user, not the assistant"):
        read(path)


def test_the_row_is_the_line(jsonl):
    path = jsonl(PAIR)
    path.write_text("\n\n" + path.read_text() + '{"prompt": "q", "chosen": "x", "rejected": ""}\n')
    assert read(path, bad_rows="drop").bad[0].row == 4
    assert read(path, bad_rows="drop").examples[0].id == "row-3"


def test_a_line_that_is_not_json_is_a_malformed_row(jsonl):
    """The parser stops after the 29 characters of row 3, not in column 1 of the line after it."""
    path = jsonl(PAIR, PAIR)
    path.write_text(path.read_text() + '{"prompt": "q", "chosen": "x"\n' + path.read_text() + "null\n")
    with pytest.raises(UserError) as error:
        read(path)
    broken = r"row 3: `record` is not JSON (Expecting ',' delimiter, column 30)"
    assert str(error.value).startswith(f"{path}: {broken}; fix the row or set data.bad_rows=drop")
    loaded = read(path, bad_rows="drop")
    assert [example.id for example in loaded.examples] == ["row-1", "row-2", "row-4", "row-5"]
    assert [str(row) for row in loaded.bad] == [
        broken,
        "row 6: `record` is NoneType, not an object with columns",
    ]
    assert "2 malformed rows dropped" in loaded.sentence


def test_a_file_without_one_line_of_json_is_not_read(jsonl):
    path = jsonl(PAIR)
    path.write_text("prompt,chosen\nq,a\n")
    for policy in ("error", "drop"):
        with pytest.raises(
            UserError, match=r"line 1 is not JSON \(Expecting value, column 1\); fix or delete"
        ):
            read(path, bad_rows=policy)


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.json"])
@pytest.mark.parametrize("content", ["", "\n\n"])
def test_empty_file(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match="is empty, there is not one row in it"):
        read(path)


def test_nothing_but_bad_rows_is_an_error_even_when_dropping(jsonl):
    path = jsonl({**PAIR, "chosen": ""}, {**PAIR, "rejected": ""})
    with pytest.raises(
        UserError, match="none of its 2 rows can be used; the first, row 1: `chosen` is empty"
    ):
        read(path, bad_rows="drop")


def test_column_missing_from_all_rows_names_it_and_the_layout(jsonl):
    path = jsonl({"prompt": "q", "chosen": "x"}, {"prompt": "q", "chosen": "x"})
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: row 1 has the columns prompt, chosen, which fit no known layout; "
        "plain_pairs (plain-string pairs) would need `rejected` as well."
    )


def test_strings_with_no_prompt_cannot_be_split(jsonl):
    with pytest.raises(UserError, match="has these columns, but with other values in them"):
        read(jsonl({"chosen": "It is warm", "rejected": "It is cold"}))


@pytest.mark.parametrize(
    "row",
    [
        {"x": 1, "y": 2},
        {"ask": "q", "plus": "a", "minus": "b"},
        {"input": "q", "plus": "a", "minus": "b"},  # `input` alone is no Countdown problem
    ],
)
def test_foreign_columns_are_named_with_those_to_rename_them_to(jsonl, row):
    listed = ", ".join(row)
    with pytest.raises(
        UserError,
        match=f"columns {listed}, which fit no known layout; rename them: pairs have `prompt`, `chosen` and",
    ):
        read(jsonl(row))


def test_ambiguity_is_refused_with_the_way_out(jsonl):
    both = {"prompt": "q", "completion": "good", "question": "p", "answer": "bad"}
    path = jsonl(both)
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: row 1 fits 2 layouts, plain_answers (plain-string prompts and answers) and "
        "question_answer (questions and answers); say which is meant with "
        "data.layout=plain_answers or data.layout=question_answer."
    )
    example = read(path, layout="plain_answers").examples[0]
    assert example == Demonstration(Q + GOOD, "row-1", {"question": "p", "answer": "bad"})


def test_ambiguity_in_a_later_row_is_seen(jsonl):
    later = {"prompt": "q", "completion": "x", "question": "q", "answer": "y"}
    with pytest.raises(UserError, match="row 3 fits 2 layouts"):
        read(jsonl({"prompt": "q", "completion": "x"}, {"prompt": "q", "completion": "x"}, later))


@pytest.mark.parametrize("rows_before", [1, SAMPLE + 5])
def test_mixed_file_names_the_first_row_that_differs(jsonl, rows_before):
    """Within the sample that the layout is detected from, and beyond it."""
    path = jsonl(*[PAIR] * rows_before, {"instruction": "q", "output": "x"}, PAIR)
    for policy in ("error", "drop"):
        with pytest.raises(UserError, match=rf"row {rows_before + 1} is alpaca .* where .* plain_pairs"):
            read(path, bad_rows=policy)
    assert read(path, layout="plain_pairs", bad_rows="drop").bad[0].row == rows_before + 1


def test_first_rows_may_be_bad(jsonl):
    loaded = read(jsonl({"prompt": "q", "chosen": "x"}, PAIR), bad_rows="drop")
    assert (loaded.layout, len(loaded.bad)) == ("plain_pairs", 1)


@pytest.mark.parametrize(
    ("record", "kind", "example"),
    [
        (PAIR, "demonstration", Demonstration(Q + GOOD, "row-1")),
        (PAIR, "prompt", Prompt(Q, "row-1")),
        ({"messages": Q + GOOD + Q + BAD}, "prompt", Prompt(Q + GOOD + Q, "row-1", {"answer": "bad"})),
        ({"prompt": "q"}, "prompt", Prompt(Q, "row-1")),
    ],
)
def test_kind_asked_for(jsonl, record, kind, example):
    loaded = read(jsonl(record), kind=kind)
    assert (loaded.examples, loaded.kind) == ([example], kind)


@pytest.mark.parametrize(
    ("record", "gold"),
    [
        ({"question": "q", "answer": "so: #### 72"}, "so: #### 72"),
        ({"prompt": "q", "answer": "72"}, "72"),
        ({"prompt": "q", "answer": 72}, 72),
        ({"prompt": Q, "answer": "72"}, "72"),
        ({"prompt": "q", "completion": "a search, then 72"}, "a search, then 72"),
        ({"prompt": "q", "completion": "a search, then 72", "answer": "72"}, "72"),
        ({"prompt": "q", "response": "a search, then 72", "answer": 72}, 72),
        ({"problem": "q", "solution": "steps to 72", "answer": "72"}, "72"),
    ],
)
def test_prompts_keep_the_gold_answer_for_the_verifier(jsonl, record, gold):
    (example,) = read(jsonl(record), kind="prompt").examples
    assert (example.prompt, example.meta) == (Q, {"answer": gold})


def test_the_answer_of_unpaired_feedback_is_no_gold_answer(jsonl):
    (example,) = read(jsonl({"messages": Q + BAD, "label": False}), kind="prompt").examples
    assert "answer" not in example.meta


def test_sentence_says_what_a_pair_was_read_as(jsonl):
    assert read(jsonl(PAIR), kind="demonstration").sentence == (
        "read 1 demonstration (the chosen answers), plain-string pairs"
    )


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"prompt": "q"}, "demonstration"),
        ({"prompt": "q"}, "preference"),
        ({"messages": Q + GOOD}, "preference"),
        ({"messages": Q + GOOD}, "labeled"),
        ({"prompt": "q"}, "labeled"),
    ],
)
def test_nothing_is_read_as_more_than_it_is(jsonl, record, kind):
    with pytest.raises(UserError, match=r"holds .*s .*, which cannot be read as"):
        read(jsonl(record), kind=kind)


def test_unpaired_feedback_is_no_pair(jsonl):
    rows = [{"messages": Q + GOOD, "label": True}, {"messages": Q + BAD, "label": False}]
    path = jsonl(*rows)
    with pytest.raises(UserError, match=r"unpaired feedback .* not a preference pair; method\.name=kto"):
        read(path, kind="preference")
    loaded = read(path, kind="demonstration")
    assert [example.messages for example in loaded.examples] == [Q + GOOD]
    assert (loaded.kind, loaded.left_out) == ("demonstration", 1)
    assert loaded.sentence.endswith("; 1 row labeled false dropped")
    with pytest.raises(UserError, match="none of its 1 row can be used; all are labeled false"):
        read(jsonl(rows[1]), kind="demonstration")


def test_unpaired_feedback_is_read_with_its_labels(jsonl):
    path = jsonl({"messages": Q + GOOD, "kto_tag": True, "by": "ann"}, {"messages": Q + BAD, "kto_tag": 0})
    for kind in (None, "labeled"):
        loaded = read(path, kind=kind)
        assert loaded.examples == [
            Labeled(Q, GOOD, True, "row-1", {"by": "ann"}),
            Labeled(Q, BAD, False, "row-2"),
        ]
        assert loaded.sentence == (
            "read 2 labeled answers, unpaired feedback, answers labeled true or false by `kto_tag`; "
            "1 good, 1 bad"
        )


LABELED = {"prompt": "q", "completion": "good", "label": True}


@pytest.mark.parametrize("before", [0, 1, SAMPLE + 5])
@pytest.mark.parametrize("other", [{"label": None}, {"messages": Q + GOOD, "label": None}])
def test_a_row_whose_label_is_missing_is_malformed(jsonl, before, other):
    """As the first row, within the sample that the layout is detected from, and beyond it."""
    row = {**({} if "messages" in other else LABELED), **other}
    path = jsonl(*[LABELED] * before, row, LABELED)
    with pytest.raises(
        UserError, match=rf"row {before + 1}: `label` is missing, or .* name of it \(kto_tag,"
    ):
        read(path)
    loaded = read(path, bad_rows="drop")
    assert (loaded.layout, len(loaded.examples)) == ("unpaired", before + 1)
    assert [(bad.row, bad.field) for bad in loaded.bad] == [(before + 1, "label")]


def test_an_empty_label_in_a_table_is_a_malformed_row(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,completion,label\nq,a,true\nq,b,\nq,c,false\n")
    loaded = read(tmp_path / "a.csv", bad_rows="drop")
    assert [example.label for example in loaded.examples] == [True, False]
    assert [bad.row for bad in loaded.bad] == [2]


def test_a_file_without_a_label_holds_demonstrations(jsonl):
    assert read(jsonl({**LABELED, "label": None})).layout == "plain_answers"


def test_other_layouts_in_a_file_of_labeled_answers_are_refused(jsonl):
    with pytest.raises(UserError, match=r"row 2 is prompts .* where row 1 is unpaired"):
        read(jsonl(LABELED, {"prompt": "q"}), bad_rows="drop")


def test_the_columns_that_label_answers_are_named(jsonl):
    """A verifier's `correct` could also be a column of another meaning, so the sentence names it."""
    rows = [
        {"question": "2 + 2?", "response": "4", "correct": 1},
        {"question": "2 + 3?", "response": "4", "correct": 0},
        {"question": "2 + 4?", "response": "6", "metadata": {"passed": True}},
    ]
    said = read(jsonl(*rows)).sentence
    assert "answers labeled true or false by `correct` (2) and `metadata.passed` (1); 2 good, 1 bad" in said
    for kind in ("prompt", "demonstration"):
        assert "answers labeled true or false by `correct`" in read(jsonl(*rows[:2]), kind=kind).sentence
    named = [{"question": "2 + 2?", "response": "4", "verdict": good} for good in (True, False)]
    assert " false by `verdict`;" in read(jsonl(*named), columns={"label": "verdict"}).sentence
    assert "those labeled true kept as the gold `answer`" in read(jsonl(*rows), kind="prompt").sentence


def test_answers_without_a_label_name_no_column(jsonl):
    """A `correct` that is no spelling of a label is a reference answer."""
    said = read(jsonl({"question": "2 + 2?", "response": "4", "correct": "four"})).sentence
    assert "labeled" not in said and "by `" not in said


def test_pairs_are_read_as_two_labeled_answers_each(jsonl):
    loaded = read(jsonl({**PAIR, "score_chosen": 8, "score_rejected": 3, "by": "ann"}), kind="labeled")
    (pair,) = read(jsonl(PAIR)).examples
    assert loaded.examples == [
        Labeled(pair.prompt, pair.chosen, True, "row-1.chosen", {"by": "ann"}),
        Labeled(pair.prompt, pair.rejected, False, "row-1.rejected", {"by": "ann"}),
    ]
    assert loaded.sentence == (
        "read 2 labeled answers (every pair split into its chosen and its rejected answer), "
        "plain-string pairs; 1 good, 1 bad"
    )


def test_the_label_judges_trls_completion_and_elsewhere_the_last_answer(jsonl):
    """A completion of three turns is judged whole; of a conversation, what follows the user's last turn."""
    longer = [*GOOD, *Q, *BAD]
    (given,) = read(jsonl({"prompt": Q, "completion": longer, "label": True})).examples
    (whole,) = read(jsonl({"messages": Q + longer, "label": True})).examples
    assert given == Labeled(Q, longer, True, "row-1")
    assert whole == Labeled([*Q, *GOOD, *Q], BAD, True, "row-1")


@pytest.mark.parametrize("label", ["maybe", 2, 0.5, [], ""])
def test_a_label_that_is_no_label_is_a_bad_row(jsonl, label):
    with pytest.raises(UserError, match=r"row 2: `label` .*neither true nor false"):
        read(jsonl({"prompt": "q", "completion": "a", "label": True},
                   {"prompt": "q", "completion": "a", "label": label}))  # fmt: skip


def test_an_answer_none_of_whose_turns_is_learned_is_a_bad_row(jsonl):
    weightless = [{**GOOD[0], "weight": 0}]
    with pytest.raises(UserError, match=r"row 1: `messages`"):
        read(jsonl({"messages": [*Q, *GOOD, *Q, *weightless], "label": True}))


def test_limit_is_in_examples(jsonl):
    """Malformed rows before the last example do not count; those after it are not reached."""
    malformed = {**PAIR, "chosen": ""}
    path = jsonl(PAIR, malformed, PAIR, malformed, PAIR)
    assert len(read(path, limit=1).examples) == 1
    loaded = read(path, limit=2, bad_rows="drop")
    assert (list(loaded.rows), [bad.row for bad in loaded.bad]) == ([1, 3], [2])
    loaded = read(path, limit=9, bad_rows="drop")
    assert (list(loaded.rows), [bad.row for bad in loaded.bad]) == ([1, 3, 5], [2, 4])


@pytest.mark.parametrize(
    ("given", "id"), [("a", "a"), (0, "0"), (None, "row-1"), (True, "row-1"), ("", "row-1")]
)
def test_ids(jsonl, given, id):
    assert read(jsonl({**PAIR, "id": given})).examples[0].id == id


@pytest.mark.parametrize("column", ["question_id", "key"])
def test_id_under_another_name(jsonl, column):
    example = read(jsonl({"prompt": "q", column: 5})).examples[0]
    assert (example.id, example.meta) == ("5", {})


def test_wrong_options_suggest(jsonl):
    path = jsonl(PAIR)
    for option, message in (
        ({"bad_rows": "dorp"}, "did you mean 'drop'"),
        ({"kind": "preferences"}, "did you mean 'preference'"),
        ({"layout": "plain_pair"}, "did you mean 'plain_pairs'"),
    ):
        with pytest.raises(UserError, match=message):
            read(path, **option)


def test_reading_needs_no_heavy_import():
    """`boresight data check` must not wait for torch, datasets or pyarrow."""
    code = (
        "import sys, boresight.data.reading.load, boresight.data.check_file, boresight.data.write\n"
        "print([m for m in ('torch', 'transformers', 'datasets', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
