"""`data.columns`: a file's columns under the names of the layouts, refusals, and the guess in an error."""

from __future__ import annotations

import shlex

import pytest

from boresight.cli.main import app
from boresight.config.recipe import DataSection, Recipe
from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Preference
from boresight.data.check_file import check_file
from boresight.data.layouts import fitting
from boresight.data.prepare import DatasetCache
from boresight.data.reading.load import SAMPLE, BadRow, collect, read
from boresight.data.reading.renaming.guess import guesses, in_one_line
from boresight.data.reading.renaming.mapping import parse_columns, rename
from boresight.data.reading.split import read_source

Q, GOOD, BAD = (
    [{"role": r, "content": c}] for r, c in (("user", "q"), ("assistant", "good"), ("assistant", "bad"))
)
OWN = {"ask": "q", "plus": "good", "minus": "bad"}
NAMED = {"prompt": "ask", "chosen": "plus", "rejected": "minus"}


def test_named_columns_are_read_and_the_others_keep_their_names(jsonl):
    path = jsonl({**OWN, "topic": "t"}, OWN)
    loaded = read(path, columns=NAMED)
    assert loaded.examples == [
        Preference(Q, GOOD, BAD, "row-1", meta={"topic": "t"}),
        Preference(Q, GOOD, BAD, "row-2"),
    ]
    assert loaded.sentence == (
        "read 2 preference pairs, plain-string pairs; `ask` as `prompt`, `plus` as `chosen`, "
        "`minus` as `rejected`"
    )


def test_two_columns_can_change_places(jsonl):
    """Labels that are the wrong way round: chosen reads the column `rejected`, and the reverse."""
    path = jsonl({"prompt": "q", "chosen": "bad", "rejected": "good"})
    turned = read(path, columns={"chosen": "rejected", "rejected": "chosen"})
    assert turned.examples == [Preference(Q, GOOD, BAD, "row-1")]


def test_lists_and_numbers_of_a_table_are_read_under_the_new_names(tmp_path):
    """The cells of a CSV file are text: here messages as JSON, and scores."""
    path = tmp_path / "rows.csv"
    path.write_text(
        'ask;plus;minus;p;m\n"[{""role"": ""user"", ""content"": ""q""}]";'
        '"[{""role"": ""assistant"", ""content"": ""good""}]";'
        '"[{""role"": ""assistant"", ""content"": ""bad""}]";8.5;3\n'
    )
    loaded = read(path, columns={**NAMED, "score_chosen": "p", "score_rejected": "m"})
    assert loaded.layout == "trl_pairs"
    assert loaded.examples == [Preference(Q, GOOD, BAD, "row-1", 8.5, 3.0)]


def test_a_bad_row_is_reported_under_the_name_in_the_file(jsonl):
    path = jsonl(OWN, {**OWN, "plus": ""}, {**OWN, "minus": None})
    bad = collect(path, columns=NAMED).bad
    assert bad == [BadRow(2, "plus", "is empty"), BadRow(3, "minus", "is missing")]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {**NAMED, "chosen": "pluss"},
            "{path}: no row has the column `pluss`, which data.columns reads as `chosen`; the columns are "
            "ask, plus, minus; did you mean 'plus'?",
        ),
        (
            {**NAMED, "chosen": "zzzzzz"},
            "{path}: no row has the column `zzzzzz`, which data.columns reads as `chosen`; the columns are "
            "ask, plus, minus.",
        ),
        (
            {**NAMED, "promt": "ask"},
            "data.columns: no layout reads `promt`; did you mean 'prompt'?",
        ),
        (
            {"ask": "prompt"},
            "data.columns: no layout reads `ask`; write {{prompt: ask}}, the layout's name first.",
        ),
        (
            {"prompt": "plus", "chosen": "plus", "rejected": "minus"},
            "data.columns: names the column `plus` twice; read it under one name.",
        ),
    ],
)
def test_a_mapping_that_does_not_suit_is_refused_in_one_sentence(jsonl, columns, sentence):
    path = jsonl(OWN, OWN)
    with pytest.raises(UserError) as error:
        read(path, columns=columns)
    assert str(error.value) == sentence.format(path=path)


def test_a_mapping_that_is_the_wrong_way_round(jsonl):
    """`question` is a name that some layout reads, so the names alone do not show it; the columns do."""
    path = jsonl({"question": "q", "plus": "good", "minus": "bad"})
    with pytest.raises(UserError, match=r"did you mean \{prompt: question\}, the layout's name first\?$"):
        read(path, columns={"question": "prompt"})


@pytest.mark.parametrize("more", [{"prompt": "p"}, {"prompt": "p", "ask": None}])
def test_a_new_name_that_another_column_has(jsonl, more):
    """Two columns under one name are refused; where the named one is null there is nothing to choose."""
    path = jsonl(OWN, {**OWN, **more})
    if more.get("ask", "q") is None:
        assert read(path, columns=NAMED).examples[1].prompt[0]["content"] == "p"
        return
    with pytest.raises(UserError) as error:
        read(path, columns=NAMED)
    assert str(error.value) == (
        f"{path}: row 2 has a column `prompt` beside `ask`, which data.columns reads as `prompt`; "
        "rename or remove one of them."
    )


def test_a_column_that_few_rows_have_is_looked_for_in_the_sample(jsonl):
    """`data show` reads 1 row; the column `tone` is in the second. After the sample it is too late."""
    columns = {**NAMED, "system": "tone"}
    path = jsonl(OWN, {**OWN, "tone": "Be brief."})
    assert len(collect(path, columns=columns, limit=1).examples) == 1
    assert read(path, columns=columns).examples[1].prompt[0] == {"role": "system", "content": "Be brief."}
    late = jsonl(*[OWN] * SAMPLE, {**OWN, "tone": "Be brief."}, name="late.jsonl")
    with pytest.raises(UserError, match=f"none of the first {SAMPLE:,} rows has the column `tone`"):
        read(late, columns=columns)


def test_the_order_of_columns_stays(jsonl):
    """Errors list columns in the order of the file."""
    assert list(rename({"a": 1, "ask": 2, "b": 3}, {"prompt": "ask"}, "")) == ["a", "prompt", "b"]


def test_made_data_have_no_columns_to_name():
    data = DataSection(train="generate:countdown-problems", columns={"prompt": "x"})
    with pytest.raises(UserError, match=r"data\.columns: generate:countdown-problems is no file"):
        read_source(data.train, None, data)


def test_the_recipe_holds_the_mapping_and_defaults_to_none():
    raw = {"method": {"name": "dpo"}, "data": {"train": "x.jsonl"}, "optim": {"lr": 1e-5}}
    plain = Recipe.parse(raw)
    assert plain.data.columns is None
    named = plain.changed(["data.columns={prompt: ask, chosen: plus}", "data.columns.rejected=minus"])
    assert named.data.columns == NAMED
    assert Recipe.parse(named.to_dict()) == named != plain
    with pytest.raises(UserError, match=r"data\.columns is \{\}: dictionary should have at least 1 item"):
        plain.changed(["data.columns={}"])


def test_data_in_memory_are_those_of_the_mapping(jsonl):
    """Another mapping of the same file is other data."""
    path, cache = jsonl(*[{**OWN, "other": "p"}] * 2), DatasetCache()
    raw = {"method": {"name": "dpo"}, "data": {"train": str(path)}, "optim": {"lr": 1e-5}}
    recipes = [
        Recipe.parse({**raw, "data": {**raw["data"], "columns": {**NAMED, "prompt": column}}})
        for column in ("ask", "other")
    ]
    said = [cache.of(recipe, "preference").split.train.examples[0].prompt[0]["content"] for recipe in recipes]
    assert said == ["q", "p"]


@pytest.mark.parametrize(
    ("row", "columns", "layout"),
    [
        (
            {"customer_message": "q", "good_reply": "a", "bad_reply": "b"},
            {"prompt": "customer_message", "chosen": "good_reply", "rejected": "bad_reply"},
            "plain_pairs",
        ),
        ({"question": "q", "good": "a", "bad": "b"}, {"chosen": "good", "rejected": "bad"}, "plain_pairs"),
        (
            {"instruction": "q", "input": "", "preferred": "a", "dispreferred": "b"},
            {"chosen": "preferred", "rejected": "dispreferred"},
            "alpaca_pairs",
        ),
        (
            {"Winner": Q + GOOD, "Loser": Q + BAD},
            {"chosen": "Winner", "rejected": "Loser"},
            "trl_implicit",
        ),
        ({"prompt": "q", "chosen": "a", "worse answer": "b"}, {"rejected": "worse answer"}, "plain_pairs"),
        ({"user_request": "q", "model_reply": "a"}, {"prompt": "user_request", "completion": "model_reply"},
         "plain_answers"),
        ({"dialog": Q + GOOD}, {"messages": "dialog"}, "messages"),
    ],
)  # fmt: skip
def test_a_guess_and_the_layout_by_it(jsonl, row, columns, layout):
    guessed, found = next(guesses(row))
    assert (guessed, found.name) == (columns, layout)
    assert parse_columns(in_one_line(columns)) == columns
    loaded = read(jsonl(row), columns=columns)
    assert loaded.layout == layout
    (example,) = loaded.examples
    assert isinstance(example, Preference | Demonstration)


@pytest.mark.parametrize(
    "row",
    [
        {"x": "q", "y": "a"},
        {"request": "q", "good": "a"},  # no worse answer
        {"request": "q", "reply_1": "a", "reply_2": "b"},  # two replies, and nothing says which is better
        {"request": "q", "reply": "a", "liked": False},  # would be a demonstration of a disliked answer
        {"request": "q", "reply": "a", "thumbs_up": 0},
        {"request": "q", "good": 0.9, "bad": 0.1},  # numbers are no answers
        {"preferred": GOOD, "rejected_output": BAD},  # answers without a prompt
        {"request": "q", "user": "u", "good": "a", "bad": "b"},  # two prompts
    ],
)
def test_nothing_is_guessed_where_it_is_not_obvious(row):
    assert list(guesses(row)) == []


def test_the_error_for_an_unknown_layout_has_the_command_that_reads_it(jsonl):
    path = jsonl({"customer message": "q", "good": "it's", "bad": "b"})
    with pytest.raises(UserError) as error:
        read(path)
    value = "{prompt: customer message, chosen: good, rejected: bad}"
    assert str(error.value) == (
        f"{path}: row 1 has the columns customer message, good, bad, which fit no known layout; "
        f"data.columns='{value}' reads it as plain-string pairs; to look at them: boresight data check "
        f"{path} --columns '{value}'."
    )
    command = shlex.split(str(error.value).rpartition("boresight data check ")[2].removesuffix("."))
    assert check_file(command[0], columns=parse_columns(command[2])).verdict == "No malformed rows."


def test_prompts_with_answers_under_other_names_are_suggested_as_pairs(jsonl, capsys):
    """A file of `question`, `good`, `bad` is one of prompts; its answers are columns that no layout reads."""
    path = jsonl({"question": "q", "good": "a", "bad": "b"})
    assert read(path).layout == "prompts"
    with pytest.raises(UserError) as error:
        read(path, kind="preference")
    assert str(error.value).startswith(
        f"{path}: holds prompts (plain strings), which cannot be read as preference pairs; "
        "data.columns='{chosen: good, rejected: bad}' reads it as plain-string pairs; "
    )
    app(["data", "check", str(path)], standalone_mode=False)
    said, _, command = capsys.readouterr().out.rstrip("\n").rpartition("\n")  # the last line is to copy
    assert " ".join(said.split()).endswith(
        "No malformed rows. the columns `good` and `bad` look like preference pairs and are not read; "
        "to read them:"
    )
    assert command == f"  boresight data check {path} --columns '{{chosen: good, rejected: bad}}'"
    app(shlex.split(command)[1:], standalone_mode=False)
    said = capsys.readouterr().out
    assert "read 1 preference pair" in said and "look like" not in said


@pytest.mark.parametrize("text", ["prompt=ask", "ask", "{prompt: 3}", "[prompt]", "{}", "{1: ask}"])
def test_the_option_takes_a_mapping_alone(text):
    with pytest.raises(UserError, match=r"--columns: .* is no mapping; write '\{prompt: question, "):
        parse_columns(text)
    assert parse_columns(None) is None


def test_no_layout_fits_a_renamed_row_twice():
    assert [layout.name for layout in fitting(rename(OWN, NAMED, ""))] == ["plain_pairs"]
