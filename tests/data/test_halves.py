"""Halves of the held-out prompts: one to choose by, one to confirm on; a run's seed does not move them."""

import io
import json

import pytest
from rich.console import Console

from boresight.config.recipe import DataSection, Recipe
from boresight.core.schema import Preference
from boresight.data.prepare import DatasetCache, prepare
from boresight.data.reading.split import half, read_split
from tests.tiny import tiny_tokenizer


def pair(prompt, chosen="yes", id="x"):
    user = [{"role": "user", "content": prompt}]
    said = [{"role": "assistant", "content": chosen}]
    return Preference(user, said, [{"role": "assistant", "content": "no"}], id)


def test_halves_are_complements_that_share_no_prompt():
    pairs = [pair(f"prompt {n % 30}", f"answer {n}") for n in range(60)]
    one, other = half(pairs, "selection"), half(pairs, "confirmation")
    assert len(one) + len(other) == 60 and half(pairs, None) == pairs
    prompts = [{e.prompt[0]["content"] for e in side} for side in (one, other)]
    assert not prompts[0] & prompts[1] and all(prompts)


@pytest.fixture
def recipe(tmp_path):
    rows = [{"prompt": f"say {n}", "chosen": "the answer", "rejected": "red"} for n in range(60)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(seed, which=None, split_seed=7):
        return Recipe.parse(
            {
                "method": {"name": "dpo"},
                "data": {
                    "train": str(tmp_path / "pairs.jsonl"), "eval_rows": 12, "limit": 20,
                    "eval_half": which, "split_seed": split_seed,
                },
                "optim": {"lr": 1e-3},
                "train": {"seed": seed},
            }
        )  # fmt: skip

    return make


def ids(recipe, datasets=None):
    data = (datasets or DatasetCache()).of(recipe, "preference")
    data = prepare(data, tiny_tokenizer(), Console(file=io.StringIO()))
    return [row.id for row in data.train.rows], [row.id for row in data.eval.rows]


def test_with_a_split_seed_other_seeds_see_the_same_rows(recipe):
    assert ids(recipe(0)) == ids(recipe(1))
    assert ids(recipe(0, split_seed=None)) != ids(recipe(1, split_seed=None))


def test_no_half_is_trained_on(recipe):
    train, everything = ids(recipe(0))
    sides = [ids(recipe(0, which))[1] for which in ("selection", "confirmation")]
    assert sorted(sides[0] + sides[1]) == sorted(everything) and all(sides)
    assert not set(train) & set(everything)


def test_rows_of_a_separate_held_out_file_that_are_not_measured_are_counted(recipe, tmp_path):
    """60 pairs and `eval_rows: 12`; with 60 of 60 there is nothing to say."""
    said = io.StringIO()
    data = {"train": str(tmp_path / "pairs.jsonl"), "eval": str(tmp_path / "pairs.jsonl")}
    whole = recipe(0).to_dict()
    for rows in (12, 60):
        changed = Recipe.parse({**whole, "data": {**whole["data"], **data, "eval_rows": rows}})
        prepare(DatasetCache().of(changed, "preference"), tiny_tokenizer(), Console(file=said, width=200))
    assert said.getvalue().count("data.eval_rows is the limit") == 1
    assert "held out: 12 of 60 rows are measured" in said.getvalue()


FIFTH, TOGETHER = "at most a fifth of the 60 rows is held out", "stay together"
TWENTY = f"each prompt has 20 rows or more, which {TOGETHER}"


@pytest.mark.parametrize(
    ("rows", "prompts", "wanted", "held", "why"),
    [
        (60, 60, 12, 12, ""),
        (60, 3, 0, 0, ""),
        (60, 60, 50, 12, FIFTH),
        (60, 20, 50, 12, FIFTH),
        (60, 20, 11, 9, f"rows with one prompt {TOGETHER}"),
        (60, 3, 10, 0, TWENTY),
        (60, 3, 50, 0, f"{FIFTH}, and {TWENTY}"),
        (4, 4, 1, 0, "at most a fifth of the 4 rows is held out"),
    ],
)
def test_fewer_held_out_rows_than_requested_are_explained(tmp_path, rows, prompts, wanted, held, why):
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        "".join(
            json.dumps({"prompt": f"say {n % prompts}", "chosen": f"{n}", "rejected": "no"}) + "\n"
            for n in range(rows)
        )
    )
    split = read_split(DataSection(train=str(path), eval_rows=wanted), "preference", seed=0)
    assert (len(split.train.examples), len(split.eval.examples)) == (rows - held, held)
    assert split.shortage == why
    line = f"held out: {held} rows where data.eval_rows={wanted}; {why}."
    assert split.lines[1:] == ([line] if why else [])


def test_a_half_without_a_row_is_named(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "say", "chosen": "yes", "rejected": "no"}) + "\n")
    found = [
        read_split(DataSection(train=str(path), eval=str(path), eval_half=which), "preference", seed=0)
        for which in ("selection", "confirmation")
    ]
    empty, full = sorted(found, key=lambda split: len(split.eval.examples))
    assert "half has none of the held-out rows (1)" in empty.shortage and full.shortage == ""


def test_the_last_data_is_not_tokenised_again_until_anything_of_it_changes(recipe, tmp_path, monkeypatch):
    from boresight.data import tokenize as module

    calls = []
    render = module.render_example
    monkeypatch.setattr(module, "render_example", lambda *a: calls.append(1) or render(*a))
    datasets = DatasetCache()
    first = ids(recipe(0), datasets)
    count = len(calls)
    assert ids(recipe(1), datasets) == first and len(calls) == count  # another seed, the same split
    ids(recipe(0, "selection"), datasets)
    assert len(calls) > count
    count = len(calls)
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "one more", "chosen": "yes", "rejected": "no"}) + "\n")
    ids(recipe(0, "selection"), datasets)
    assert len(calls) > count
    count = len(calls)
    data = datasets.of(recipe(0, "selection"), "preference")
    other = tiny_tokenizer()
    other.chat_template = other.chat_template.replace("Be kind.", "Be brief.")
    prepare(data, other, Console(file=io.StringIO()))
    assert len(calls) > count
