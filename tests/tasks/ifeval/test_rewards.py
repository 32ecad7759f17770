"""From a row to a reward: all instructions or their share, strict or loose, and rows that cannot be used."""

from __future__ import annotations

import json
import sys

import pytest

from boresight.core.errors import UserError
from boresight.data.reading.load import read
from boresight.tasks.ifeval import english, language, rewards
from boresight.tasks.ifeval.registry import INSTRUCTIONS

ROW = {
    "instruction_id_list": [
        "punctuation:no_comma",
        "detectable_format:number_bullet_lists",
        "startend:quotation",
    ],
    "kwargs": [{}, {"num_bullets": 1}, {}],
}
JSON_ROW = {
    "instruction_id_list": ["detectable_format:json_format", "punctuation:no_comma"],
    "kwargs": [{}, {}],
}
DEEP = "[" * 100_000
FUNCTIONS = (rewards.all_strict, rewards.share_strict, rewards.all_loose, rewards.share_loose)


def earned(row, answer):
    return tuple(function([None], [answer], [row])[0] for function in FUNCTIONS)


@pytest.mark.parametrize(
    ("answer", "all_strict", "share_strict", "all_loose", "share_loose"),
    [
        ('"\n* a\n"', 1, 1, 1, 1),
        ('Sure, here:\n"* a"', 0, 0, 0, 2 / 3),  # without the first line, no comma is left and it is quoted
        ('"* a"', 0, 2 / 3, 0, 2 / 3),
        ('Hi,\n"\n* a\n"\nBye,', 0, 1 / 3, 1, 1),
        ('* "a"', 0, 2 / 3, 1, 1),  # stars removed, it is quoted; each instruction chooses its own version
        ("", 0, 0, 0, 0),
        (" \n\t\n", 0, 0, 0, 0),
        ("*", 0, 1 / 3, 0, 1 / 3),  # a lone star is no bullet
        ('<think>Well, a bullet.</think>"\n* a\n"', 1, 1, 1, 1),
        ('<think>Well. "\n* a\n"', 0, 0, 0, 0),
    ],
)
def test_four_accuracies(answer, all_strict, share_strict, all_loose, share_loose):
    got = earned(ROW, answer)
    assert got == pytest.approx((all_strict, share_strict, all_loose, share_loose))


def test_a_check_that_cannot_be_made_is_missing_unless_another_decides():
    assert earned(JSON_ROW, DEEP) == (None, None, None, None)
    assert earned(JSON_ROW, DEEP + ",") == (0.0, None, 0.0, None)
    assert earned(JSON_ROW, "{}\n" + DEEP) == (0.0, 0.5, 1.0, 1.0), "one version that follows is enough"


def test_loose_versions():
    assert list(rewards.loose_versions(" a\n*b*\nc ")) == [
        *(" a\n*b*\nc ", " a\nb\nc "),
        *("*b*\nc", "b\nc"),
        *("a\n*b*", "a\nb"),
        *("*b*", "b"),
    ]


def test_absent_parameters_may_be_null_and_numbers_floats():
    """As Parquet files and tables hold them."""
    given = {"num_bullets": 1.0, "relation": None, "keywords": None}
    row = {"instruction_id_list": ["detectable_format:number_bullet_lists"], "kwargs": [given]}
    assert rewards.all_strict([None], ["* a"], [row]) == [1.0]
    assert rewards.all_strict([None], ["a"], [{**JSON_ROW, "kwargs": [None, {}]}]) == [0.0]


COUNT = "length_constraints:number_words"


def one(name, given):
    return {"instruction_id_list": [name], "kwargs": [given]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "`instruction_id_list` is missing"),
        ({"instruction_id_list": ["startend:quotation"]}, "`kwargs` is missing"),
        ({"instruction_id_list": [], "kwargs": []}, "`instruction_id_list` is not a list with an entry"),
        (
            {"instruction_id_list": "startend:quotation", "kwargs": [{}]},
            "`instruction_id_list` is not a list",
        ),
        ({**ROW, "kwargs": [{}]}, "`kwargs` has 1 entries for 3 instructions; give one for each"),
        (one("startend:quotatoin", {}), "'startend:quotatoin'; did you mean 'startend:quotation'?"),
        (one(["startend:quotation"], {}), "`instruction_id_list` names no known instruction"),
        (one("startend:quotation", "{}"), "`kwargs` of startend:quotation is str, not an object"),
        (one("startend:quotation", {"mark": "'"}), "has the unknown parameter 'mark'; it has none"),
        (one(COUNT, {"num_words": 3}), "of length_constraints:number_words lacks the parameter 'relation'"),
        (one(COUNT, {"num_word": 3}), "unknown parameter 'num_word'; did you mean 'num_words'?"),
        (one(COUNT, {"num_words": "3", "relation": "at least"}), "num_words is '3'; give a whole number"),
        (one(COUNT, {"num_words": True, "relation": "at least"}), "num_words is True; give a whole number"),
        (one(COUNT, {"num_words": 2.5, "relation": "at least"}), "num_words is 2.5; give a whole number"),
        (one(COUNT, {"num_words": -1, "relation": "at least"}), "num_words is -1; give a whole number"),
        (one(COUNT, {"num_words": float("inf"), "relation": "at least"}), "num_words is inf; give a whole"),
        (one(COUNT, {"num_words": 3, "relation": "at most"}), "relation is 'at most'; give 'at least' or"),
        (one("keywords:existence", {"keywords": "mom"}), "keywords is 'mom'; give a list of words"),
        (one("keywords:existence", {"keywords": []}), r"keywords is \[\]; give a list of words"),
        (one("keywords:existence", {"keywords": ["a", " "]}), "keywords holds ' '; give words that are not"),
        (one("combination:repeat_prompt", {"prompt_to_repeat": " "}), "prompt_to_repeat is ' '; give a text"),
        (
            one(
                "length_constraints:nth_paragraph_first_word",
                {"num_paragraphs": 1, "nth_paragraph": 0, "first_word": "a"},
            ),
            "nth_paragraph is 0; count from 1",
        ),
        (
            one(
                "keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}
            ),
            "letter is 'ab'; give one character",
        ),
    ],
)
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("answer", ["", "An answer."])
def test_a_row_that_cannot_be_used_is_refused_in_one_sentence(function, row, message, answer):
    """Also for a blank answer, which no check would look at."""
    with pytest.raises(UserError, match=message) as caught:
        function([None], [answer], [row])
    assert str(caught.value).startswith("reward ifeval: `") and "\n" not in str(caught.value)


def test_an_unknown_language_is_refused():
    pytest.importorskip("langdetect")
    with pytest.raises(UserError, match=r"language is 'zh'; give one of af, ar, .*zh-cn"):
        rewards.all_strict([None], [""], [one("language:response_language", {"language": "zh"})])


@pytest.mark.parametrize(
    ("name", "given", "package", "load"),
    [
        ("language:response_language", {"language": "de"}, "langdetect", language.language_detectors),
        ("change_case:english_capital", {}, "langdetect", language.language_detectors),
        ("change_case:english_lowercase", {}, "langdetect", language.language_detectors),
        (
            "length_constraints:number_sentences",
            {"num_sentences": 1, "relation": "at least"},
            "punkt",
            english.sentence_tokenizer,
        ),
        (
            "change_case:capital_word_frequency",
            {"capital_frequency": 1, "capital_relation": "at least"},
            "nltk",
            english.sentence_tokenizer,
        ),
    ],
)
def test_a_missing_package_is_named_before_any_answer_is_judged(monkeypatch, name, given, package, load):
    load.cache_clear()
    for module in [m for m in sys.modules if m.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"needs the packages? .*pip install 'boresight\[ifeval\]'"):
        rewards.all_strict([None], [""], [one(name, given)])


COLUMNS = {"key": 7, "prompt": "Say hi.", **ROW}


def as_json(path):
    path = path.with_suffix(".jsonl")
    path.write_text(json.dumps(COLUMNS) + "\n")
    return path


def as_csv(path):
    path = path.with_suffix(".csv")
    cells = [json.dumps(v) if isinstance(v, list) else str(v) for v in COLUMNS.values()]
    quoted = ('"' + cell.replace('"', '""') + '"' for cell in cells)
    path.write_text(",".join(COLUMNS) + "\n" + ",".join(quoted) + "\n")
    return path


def as_parquet(path):
    import pyarrow
    from pyarrow import parquet

    path = path.with_suffix(".parquet")
    every = {name for instruction in INSTRUCTIONS.values() for name in instruction.parameters}
    given = [{**dict.fromkeys(sorted(every)), **parameters} for parameters in ROW["kwargs"]]
    parquet.write_table(pyarrow.Table.from_pylist([{**COLUMNS, "kwargs": given}]), path)
    return path


@pytest.mark.parametrize("write", [as_json, as_csv, as_parquet])
def test_rows_reach_the_reward_from_every_kind_of_file(tmp_path, write):
    (prompt,) = read(write(tmp_path / "ifeval")).examples
    assert prompt.id == "7"
    assert earned(prompt.meta, '"\n* a\n"') == (1, 1, 1, 1)


@pytest.mark.real_data
def test_all_rows_of_the_public_data_set_are_readable(real_data):
    for package in ("langdetect", "nltk", "punkt"):
        pytest.importorskip(package)
    prompts = read(real_data / "ifeval/input_data.jsonl").examples
    names = {name for prompt in prompts for name in prompt.meta["instruction_id_list"]}
    assert names == set(INSTRUCTIONS)
    rows = [prompt.meta for prompt in prompts]
    assert set(rewards.all_strict([None] * len(rows), [""] * len(rows), rows)) == {0.0}
