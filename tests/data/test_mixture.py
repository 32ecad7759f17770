"""Several sources with shares become one list of rows."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from boresight.config.recipe import DataSection, Recipe
from boresight.core.errors import UserError
from boresight.data.reading.split import read_split
from boresight.runs.train import run_training
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def files(tmp_path):
    """A maker of files of demonstrations about one subject."""

    def make(name: str, rows: int) -> str:
        path = tmp_path / f"{name}.jsonl"
        lines = ({"id": f"row-{i}", "prompt": f"{name} {i}?", "completion": f"{name}."} for i in range(rows))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return str(path)

    return make


def mixed(shares: dict[str, float], seed: int = 0, **more):
    return read_split(DataSection(train=shares, eval_rows=0, **more), "demonstration", seed)


def counts(split) -> dict[str, int]:
    subjects = [example.messages[0]["content"].split()[0] for example in split.train.examples]
    return {subject: subjects.count(subject) for subject in dict.fromkeys(subjects)}


def test_shares_come_out_and_the_scarce_source_is_used_whole(files):
    """60 rows at 0.3 allow 200 in all, so 140 of the other source."""
    split = mixed({files("tea", 1000): 0.7, files("rice", 60): 0.3})
    assert counts(split) == {"tea": 140, "rice": 60}
    assert len({example.messages[0]["content"] for example in split.train.examples}) == 200
    assert split.lines[-1].startswith("train: mixed 140 of 1,000 of ") and "60 of 60 of " in split.lines[-1]


def test_only_the_ratio_of_shares_counts(files):
    tea, rice = files("tea", 40), files("rice", 40)
    one, other = mixed({tea: 3, rice: 1}), mixed({tea: 0.75, rice: 0.25})
    assert one.train.examples == other.train.examples
    assert counts(one) == {"tea": 40, "rice": 13}


def test_ids_of_two_sources_are_told_apart_and_others_stay(files, tmp_path):
    named = tmp_path / "named.jsonl"
    named.write_text(json.dumps({"id": "mine", "prompt": "a?", "completion": "b."}) + "\n")
    split = mixed({files("tea", 2): 0.4, files("rice", 2): 0.4, str(named): 0.2})
    assert [e.id for e in split.train.examples] == ["1:row-0", "1:row-1", "2:row-0", "2:row-1", "mine"]


def test_the_seed_decides_which_rows(files):
    shares = {files("tea", 100): 1, files("rice", 10): 1}
    first, again, other = mixed(shares), mixed(shares), mixed(shares, seed=1)
    assert first.train.examples == again.train.examples != other.train.examples
    assert first.train.sha256 == other.train.sha256


def test_held_out_rows_come_out_of_the_mixture(files):
    shares = {files("tea", 50): 1, files("rice", 50): 1}
    split = read_split(DataSection(train=shares, eval_rows=10), "demonstration", 0)
    assert len(split.eval.examples) == 10 and len(split.train.examples) == 90
    assert len({example.messages[0]["content"].split()[0] for example in split.eval.examples}) == 2


def test_one_source_with_a_share_is_that_source(files):
    tea = files("tea", 5)
    assert mixed({tea: 0.5}).train == mixed(tea).train


@pytest.mark.parametrize(
    ("rows", "shares", "says"),
    [
        ((5, 0), (1, 1), "empty"),
        ((5, 5), (1, 0.01), "not one row of .*rice.jsonl is in the mixture"),
    ],
)
def test_a_source_that_gives_nothing_is_named(files, rows, shares, says):
    tea, rice = files("tea", rows[0]), files("rice", rows[1])
    with pytest.raises(UserError, match=says):
        mixed(dict(zip((tea, rice), shares, strict=True)))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{a.jsonl: 0}", r"data\.train\.a\.jsonl is 0: input should be greater than 0"),
        ("{a.jsonl: -1}", "greater than 0"),
        ("{a.jsonl: .inf}", "finite"),
        ("{a.jsonl: half}", "valid number"),
        ("{}", "at least 1 item"),
        (
            "[a.jsonl, b.jsonl]",
            r"data\.train is \['a.jsonl', 'b.jsonl'\]: several sources are given with their shares",
        ),
        ("3", r"data\.train is 3: input should be a valid string"),
    ],
)
def test_a_bad_mixture_is_one_sentence(given, says):
    raw = {"method": {"name": "sft"}, "data": {"train": "x.jsonl"}, "optim": {"lr": 1e-5}}
    with pytest.raises(UserError, match=says):
        Recipe.parse(raw).changed([f"data.train={given}"])


def test_a_run_trains_on_a_mixture_and_says_what_of(files, tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    raw = {
        "method": {"name": "sft"},
        "model": {"name": str(tmp_path / "model")},
        "data": {"train": {files("tea", 40): 0.75, files("rice", 10): 0.25}, "eval_rows": 8},
        "optim": {"lr": 1e-3},
        "train": {"batch": 8, "steps": 2},
        "evaluate": {"samples": 2, "max_new_tokens": 4},
    }
    run_training(Recipe.parse(raw), tmp_path / "run", Console(quiet=True))
    facts = json.loads((tmp_path / "run/data.json").read_text())["train"]
    assert facts["rows"] == 32 and facts["path"].endswith("rice.jsonl (0.25)")
    report = (tmp_path / "run/report.html").read_text()
    assert "tea.jsonl (0.75) + " in report


def test_a_mixture_survives_the_file_of_a_run(files):
    raw = {
        "method": {"name": "sft"},
        "data": {"train": {"a.jsonl": 0.7, "b.jsonl": 0.3}},
        "optim": {"lr": 1e-5},
    }
    recipe = Recipe.parse(raw)
    assert Recipe.parse(recipe.to_dict()) == recipe
    assert recipe.data.all_sources == ["a.jsonl", "b.jsonl"]
