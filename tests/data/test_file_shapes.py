"""Files as other tools write them: read, or refused with the real cause."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Preference
from boresight.data.reading.load import collect, read
from tests.data.test_sources import LAYOUTS

ROWS = [{"prompt": f"q{n}", "chosen": "good, or", "rejected": "bad\nso"} for n in range(3)]
Q, GOOD, BAD = (
    [{"role": r, "content": c}] for r, c in (("user", "q"), ("assistant", "good"), ("assistant", "bad"))
)
TURNS = [*Q, *GOOD]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def pairs(path, content: str, encoding: str = "utf-8") -> list[tuple[str, str, str]]:
    path.write_bytes(content.encode(encoding))
    found = read(path).examples
    assert all(isinstance(pair, Preference) for pair in found)
    return [(p.prompt[0]["content"], p.chosen[0]["content"], p.rejected[0]["content"]) for p in found]


EXPECTED = [tuple(row.values()) for row in ROWS]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_encodings_with_a_mark(tmp_path, name, encoding):
    assert pairs(tmp_path / name, LINES, encoding) == EXPECTED


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps({column: [row[column] for row in ROWS] for column in ROWS[0]}),
        json.dumps({column: {str(n): row[column] for n, row in enumerate(ROWS)} for column in ROWS[0]}),
        json.dumps({str(n): row for n, row in enumerate(ROWS)}),
    ],
    ids=["columns", "columns-by-index", "index"],
)
def test_tables_by_column_and_by_index(tmp_path, name, content):
    if name == "rows.jsonl":
        content = json.dumps(json.loads(content), indent=1)
    assert pairs(tmp_path / name, content) == EXPECTED


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("between", ["\n", "\n\n", ""])
def test_objects_over_several_lines(tmp_path, name, between):
    assert pairs(tmp_path / name, between.join(json.dumps(row, indent=2) for row in ROWS)) == EXPECTED


def test_one_record_alone_stays_one_record(tmp_path):
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"prompt": Q, "chosen": GOOD, "rejected": BAD}))
    assert read(path).examples == [Preference(Q, GOOD, BAD, "row-1")]


def test_a_list_of_conversations(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([TURNS, TURNS]))
    assert [example.messages for example in read(path).examples] == [TURNS, TURNS]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    ("name", "separator"), [("rows.csv", ","), ("rows.csv", ";"), ("rows.csv", "\t"), ("rows.tsv", "\t")]
)
def test_csv(tmp_path, name, separator, encoding):
    path = tmp_path / name
    with path.open("w", newline="", encoding=encoding) as stream:
        writer = csv.DictWriter(stream, [*ROWS[0], "chosen_score", "rejected_score"], delimiter=separator)
        writer.writeheader()
        writer.writerows({**row, "chosen_score": 8, "rejected_score": 2.5} for row in ROWS)
    found = read(path).examples
    assert [p.chosen[0]["content"] for p in found] == ["good, or"] * 3
    assert (found[0].chosen_score, found[0].rejected_score) == (8.0, 2.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt,chosen,rejected\nq,good, or,bad\n", "row 1 has more cells than the header"),
        ('prompt,chosen,rejected\nq,"good,bad\n', "is not a whole CSV file"),
        ("prompt,chosen,rejected\nq,good\n", "would need `rejected`"),
    ],
)
def test_broken_csv(tmp_path, content, message):
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read(path)


@pytest.mark.parametrize("write", [json.dumps, repr])
def test_messages_as_text(jsonl, write):
    assert read(jsonl({"messages": write(TURNS)})).examples == [Demonstration(TURNS, "row-1")]
    (pair,) = read(jsonl({"prompt": write(Q), "chosen": write(GOOD), "rejected": write(BAD)})).examples
    assert pair == Preference(Q, GOOD, BAD, "row-1")


def as_array(values: list) -> np.ndarray:
    """A list as Parquet gives it to pandas."""
    made = np.empty(len(values), object)
    made[:] = values
    return made


ODD = "it's\n\"} {\" and 'more' " + "long " * 40
PRINTED = [*Q, {"role": "assistant", "content": ODD}, *Q, {"content": "a", "role": "assistant", "name": None}]


def test_messages_as_pandas_prints_arrays(jsonl):
    """`read_parquet` and `to_csv` leave out the commas between the messages."""
    assert "\n {'role'" in str(as_array(PRINTED))
    pair = {"prompt": "q", "chosen": str(as_array(PRINTED)), "rejected": str(as_array([*Q, *BAD]))}
    loaded = read(jsonl(pair, pair))
    assert loaded.layout == "ultrafeedback" and loaded.examples[0].chosen[0]["content"] == ODD
    assert [turn["content"] for turn in loaded.examples[0].chosen[1:]] == ["q", "a"]
    answer = {"prompt": str(as_array(Q)), "completion": str(as_array(PRINTED[1:])), "label": True}
    assert [turn["content"] for turn in read(jsonl(answer)).examples[0].completion] == [ODD, "q", "a"]
    (found,) = read(jsonl({"prompt": "x", "messages": str(as_array(PRINTED))})).examples
    assert found.messages[1]["content"] == ODD


UNREADABLE = [
    repr(as_array(TURNS)),
    "[{'role': 'user', 'content': nan}]",
    "[{'role': 'user', 'content': datetime.date(2025, 1, 1)}]",
    str(as_array(TURNS * 600)),  # numpy prints the first and the last
    "{'role': array(['user'], dtype=object), 'content': array(['q'], dtype=object)}",
    "({'role': 'user', 'content': 'q'},)",
    json.dumps(TURNS)[:-20],
    "[{'from': 'human', 'value': nan}]",
]


@pytest.mark.parametrize("text", UNREADABLE)
@pytest.mark.parametrize("column", ["prompt", "chosen", "completion"])
def test_messages_that_cannot_be_parsed_are_no_words(jsonl, column, text):
    good = {"prompt": "q", "completion": "a"} if column != "chosen" else {"prompt": "q", "chosen": "a"}
    good = {**good, "label": True} if column != "chosen" else {**good, "rejected": "b"}
    path = jsonl(good, {**good, column: text})
    with pytest.raises(
        UserError, match=f"row 2: `{column}` looks like messages and is not valid JSON; write"
    ):
        read(path)
    assert [(bad.row, bad.field) for bad in read(path, bad_rows="drop").bad] == [(2, column)]


def test_a_file_of_messages_that_cannot_be_parsed_names_the_column_of_the_file(jsonl):
    path = jsonl({"ask": UNREADABLE[1]})
    with pytest.raises(UserError, match=r"row 1: `ask` looks like messages .* as JSON Lines\.$"):
        read(path, columns={"prompt": "ask"})


def test_a_long_cell_of_json_is_parsed(jsonl):
    turns = [{"role": "user", "content": "a" * 1_000_001}]
    assert read(jsonl({"prompt": json.dumps(turns)})).layout == "trl_prompts"


def test_texts_that_numpy_prints_side_by_side_are_not_joined(jsonl):
    """Python reads `['a' 'b']` as one text."""
    path = jsonl({"turns": str(as_array(["Name a color.", "And another."]))})
    with pytest.raises(UserError, match="row 1: `turns` has two texts with no comma between them"):
        read(path)
    (found,) = read(jsonl({"turns": "[\"it's ' 'so\", 'b']"})).examples
    assert found.prompt[0]["content"] == "it's ' 'so"


LOOKS_LIKE_A_LIST = [
    "[1, 2", "[1, 2]", "[__import__('os')]", "[" * 90_000 + "]" * 90_000, "[]", "['a']", '{"from": "Rome"}',
    r"{from \d}", "[{'role': 'a'", "[{role: 'user', content: 'a'}]", "{" * 90_000 + "from" + "}" * 90_000,
]  # fmt: skip


@pytest.mark.parametrize("text", LOOKS_LIKE_A_LIST)
def test_text_that_only_looks_like_a_list_stays_text(jsonl, text):
    (pair,) = read(jsonl({"prompt": text, "chosen": text, "rejected": "bad"})).examples
    assert pair.prompt[0]["content"] == pair.chosen[0]["content"] == text


NO_TEXT = [case for case in LAYOUTS if case[1].get("answer") != 72]
"""Records whose layout does not depend on a number being no text, which a table cannot tell."""


@pytest.mark.parametrize(("layout", "record", "example"), NO_TEXT)
def test_every_layout_as_a_table(tmp_path, layout, record, example):
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(record)
        table.writerow(value if isinstance(value, str) else json.dumps(value) for value in record.values())
    loaded = collect(tmp_path / "a.csv", layout=None)
    assert loaded.layout == layout and not loaded.bad
    if example.meta.get("label") is not False:
        (found,) = loaded.examples
        assert replace(found, id="7", meta={}) == replace(example, meta={})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "q", "completions": ["a", "b"], "labels": [True, False]},
            r"labels of the single steps of an answer \(`completions` and `labels`, process supervision\)",
        ),
        ({"prompt": "q", "responses": ["a", "b"]}, r"has several answers \(`responses`\)"),
        ({"prompt": "q", "response_a": "x", "response_b": "y"}, r"\(`response_a` and `response_b`\)"),
        ({"prompt": "q", "completions": ["a", "b"]}, "name the better one `chosen`"),
    ],
)
def test_several_answers_of_unknown_worth_are_no_bare_prompt(jsonl, row, message):
    with pytest.raises(UserError, match=message):
        read(jsonl(row))


PAIR = '{"prompt": "q", "chosen": "a", "rejected": "b"}'
TWICE = '{"prompt": "q", "chosen": "a", "chosen": "c", "rejected": "b"}'
INSIDE = (
    '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "content": "b"}]}'
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", f"{PAIR}\n\n{TWICE}\n", "row 3: `record` has the key 'chosen' twice; fix the row or"),
        ("a.json", f"[{PAIR}, {TWICE}]", "row 2: `record` has the key 'chosen' twice; fix the row or"),
        ("a.json", TWICE, "row 1 has the key 'chosen' twice"),
        ("a.json", f"{PAIR}\n{TWICE}\n", "row 2: `record` has the key 'chosen' twice"),
        ("a.json", TWICE.replace(", ", ",\n") * 2, "row 1 has the key 'chosen' twice"),
        ("a.json", f'{{"data": [{PAIR}, {TWICE}]}}', "row 2: `record` has the key 'chosen' twice"),
        (
            "a.json",
            f'{{"data": [{TWICE}], "data": [{PAIR}]}}',
            r"a\.json: has the key 'data' twice; keep one",
        ),
        (
            "a.json",
            '{"prompt": ["q"], "chosen": ["a"], "chosen": ["b"], "rejected": ["c"]}',
            "'chosen' twice",
        ),
        ("a.jsonl", INSIDE, "row 1 has the key 'content' twice; keep one of them"),
        ("a.csv", "prompt,chosen,chosen,rejected\nq,a,c,b\n", "has the column 'chosen' twice"),
        ("a.tsv", "prompt\tchosen\trejected\tprompt\nq\ta\tb\tq\n", "has the column 'prompt' twice"),
    ],
)
def test_a_name_that_stands_twice_is_refused(tmp_path, name, content, message):
    """Every parser would keep the last value without a word."""
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", f"{PAIR}\n{TWICE}\n{PAIR}\n{TWICE}\n"),
        ("a.json", f"[{PAIR}, {TWICE}, {PAIR}, {TWICE}]"),
        ("a.json", f'{{"version": 1, "data": [{PAIR}, {TWICE}, {PAIR}, {TWICE}]}}'),
        ("a.json", "\n".join(one.replace(", ", ",\n") for one in (PAIR, TWICE, PAIR, TWICE))),
    ],
    ids=["lines", "list", "list in an object", "one after another"],
)
def test_a_row_with_a_key_twice_is_malformed_in_every_form_of_json(tmp_path, name, content):
    """Rows 2 and 4 of 4 are dropped and counted, as any other malformed row."""
    (tmp_path / name).write_text(content)
    found = read(tmp_path / name, bad_rows="drop")
    assert len(found.examples) == 2
    assert [(bad.row, "has the key 'chosen' twice" in str(bad)) for bad in found.bad] == [
        (2, True),
        (4, True),
    ]


def test_a_key_twice_inside_a_conversation_of_a_list_is_found(tmp_path):
    turns = json.dumps(TURNS)
    inside = turns.replace('"content": "good"', '"content": "good", "content": "other"')
    (tmp_path / "a.json").write_text(f"[{turns}, {inside}]")
    found = read(tmp_path / "a.json", bad_rows="drop")
    assert (len(found.examples), [bad.row for bad in found.bad]) == (1, [2])


def test_a_parquet_column_that_stands_twice_is_refused(tmp_path):
    table = pyarrow.table([["q"], ["a"], ["b"], ["c"]], names=["prompt", "chosen", "rejected", "chosen"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="has the column 'chosen' twice"):
        read(tmp_path / "a.parquet")
