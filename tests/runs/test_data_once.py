"""A run reads its data once and tokenizes every example once: the preflight hands both on to training."""

from __future__ import annotations

import json
from collections import Counter

import pytest

import boresight
from boresight.checks.inputs import make_tokens, sample_rows
from boresight.config.recipe import Recipe
from boresight.core.interrupt import Interrupted
from boresight.data import tokenize
from boresight.data.prepare import DatasetCache
from boresight.data.reading import files
from boresight.runs.check.preflight import preflight
from boresight.runs.train import run_training
from tests.tiny import tiny_model, tiny_tokenizer

ROWS, HELD_OUT = 20, 6


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model, pairs and held-out pairs, and an empty cache of findings."""
    monkeypatch.setattr("boresight.core.files.cache_folder", lambda: tmp_path / "cache")
    tiny_model(max_position_embeddings=1024).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    for name, count in (("train", ROWS), ("eval", HELD_OUT)):
        rows = [
            {"id": f"{name}-{i}", "prompt": f"{name} {i}?", "chosen": f"yes, {i}", "rejected": f"no {i}"}
            for i in range(count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def counted(monkeypatch):
    """How often each file was opened for reading, and each example rendered for the tokenizer."""
    opened, rendered = Counter(), Counter()
    raw_rows, render = files.raw_rows, tokenize.render_example

    def counting_raw_rows(source, *rest):
        opened[str(source)] += 1
        return raw_rows(source, *rest)

    def counting_render(tokenizer, example, end):
        rendered[example.id] += 1
        return render(tokenizer, example, end)

    monkeypatch.setattr(files, "raw_rows", counting_raw_rows)
    monkeypatch.setattr(tokenize, "render_example", counting_render)
    return opened, rendered


def raw(place, method, separate=False):
    data = {"train": str(place / "train.jsonl"), "eval_rows": 4, "max_length": 400}
    if separate:
        data |= {"eval": str(place / "eval.jsonl"), "eval_rows": HELD_OUT}
    recipe = {
        "method": {"name": method},
        "model": {"name": str(place / "model")},
        "data": data,
        "optim": {"lr": 1e-3},
        "train": {"batch": 2, "steps": 1},
        "evaluate": {"samples": 1, "max_new_tokens": 4},
        "check": {"allow": ["few-steps"]},
    }
    if method == "rloo":
        recipe |= {"reward": [{"function": "tests.rewards:length"}], "rollout": {"k": 2, "max_new_tokens": 4}}
    return recipe


@pytest.mark.parametrize("separate", [False, True], ids=["one-file", "with-data.eval"])
@pytest.mark.parametrize("method", ["dpo", "rloo", "sft"])
def test_a_run_reads_once_and_tokenizes_once(method, separate, place, counted):
    opened, rendered = counted
    boresight.train(raw(place, method, separate), run=place / "run", quiet=True)
    sources = ["train", "eval"] if separate else ["train"]
    assert opened == {str(place / f"{name}.jsonl"): 1 for name in sources}
    assert set(rendered.values()) == {1}
    assert len(rendered) == (ROWS + HELD_OUT if separate else ROWS)
    facts = json.loads((place / "run/data.json").read_text())
    assert facts["train"]["rows"] + facts["eval"]["rows"] == len(rendered)


def test_a_run_whose_findings_are_known_reads_once(place, counted):
    opened, rendered = counted
    recipe = Recipe.parse(raw(place, "dpo"))
    preflight(recipe)
    opened.clear()
    rendered.clear()
    run_training(recipe, place / "run")
    assert set(opened.values()) == set(rendered.values()) == {1} and len(rendered) == ROWS


def test_a_resumed_run_reads_once_and_tokenizes_nothing(place, counted):
    """It is not checked again, so nothing has read the data before; its token rows are on the disk."""
    opened, rendered = counted
    recipe = raw(place, "dpo")
    recipe["train"] |= {"steps": 2, "save_every": 1}
    recipe = Recipe.parse(recipe)

    def stop(step, split, numbers):
        if (step, split) == (2, "train"):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        run_training(recipe, place / "run", listeners=[stop])
    opened.clear()
    rendered.clear()
    run_training(recipe, place / "run", resume=True)
    assert set(opened.values()) == {1} and not rendered


def test_a_check_alone_tokenizes_a_sample(place, counted, monkeypatch):
    monkeypatch.setattr("boresight.checks.inputs.SAMPLE", 5)
    opened, rendered = counted
    report = preflight(Recipe.parse(raw(place, "dpo")))
    assert report.sampled == 5 and len(rendered) == 5 and set(opened.values()) == {1}


def test_a_run_finds_what_a_check_finds(place):
    """Same findings whether the rows are made for a check or for a run that follows."""
    raw_recipe = raw(place, "dpo")
    raw_recipe["data"]["max_length"] = 21  # some rows are too long
    recipe, datasets = Recipe.parse(raw_recipe), DatasetCache()
    alone = make_tokens(recipe, DatasetCache().of(recipe, "preference"), tiny_tokenizer())
    data = datasets.of(recipe, "preference")
    data.rows(tiny_tokenizer()).train.stored()
    shared = make_tokens(recipe, data, tiny_tokenizer())
    assert [row.id for row in shared.rows] == [row.id for row in alone.rows]
    assert [row.tokens for row in shared.rows] == [row.tokens for row in alone.rows]
    assert shared.templates == alone.templates and shared.refused == alone.refused == []


def test_checks_see_the_ids_of_the_file(place):
    """Training tells rows with one id apart; what is found is said under the id that the file gives."""
    line = {"id": "same", "prompt": "Which?", "chosen": "this", "rejected": "that"}
    (place / "train.jsonl").write_text(
        "".join(json.dumps(line | {"prompt": f"{i}?"}) + "\n" for i in (1, 2, 3))
    )
    data = DatasetCache().of(Recipe.parse(raw(place, "dpo")), "preference")
    assert [row.id for (row,) in sample_rows(data, tiny_tokenizer())] == ["same"] * 3
    assert [row.id for row in data.rows(tiny_tokenizer()).train.stored()] == ["same", "same#2", "same#3"]
