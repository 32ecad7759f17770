"""Prompts of an evaluation that its systems were trained on are said, back to the first run of a chain."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.data.reading.load import read
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.runs.trained_prompts import print_trained_prompts


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two runs, the second on the first: warm start on questions 0 to 9, pairs on questions 10 to 19."""
    monkeypatch.chdir(tmp_path)
    write("shown.jsonl", [{"prompt": f"Question {n}?", "completion": "x"} for n in range(10)])
    answers = {"chosen": "x", "rejected": "y"}
    write("pairs.jsonl", [{"prompt": f"Question {n}?", **answers} for n in range(10, 20)])
    write("prompts.jsonl", [{"prompt": f"Question {n}?"} for n in (3, 10, 11, 30, 31)])
    write("answers.jsonl", [{"prompt": "Question 3?", "answer": "x"}])
    run("warm", "sft", "shown.jsonl", "starter")
    run("dpo", "dpo", "pairs.jsonl", "runs/warm")
    return tmp_path


def write(name, rows):
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(name, method, train, model):
    data = {"train": train, "eval_rows": 0}
    raw = {"method": {"name": method}, "model": {"name": model}, "data": data, "optim": {"lr": 1e-5}}
    Path("runs", name).mkdir(parents=True)
    Path("runs", name, "config.yaml").write_text(Recipe.parse(raw).to_yaml())


def printed(**systems):
    judge = {"name": "checks", "check": "max_words"}
    recipe = EvaluationRecipe.parse({"prompts": "prompts.jsonl", "systems": systems, "judge": judge})
    out = io.StringIO()
    print_trained_prompts(recipe, read("prompts.jsonl").examples, Console(file=out, width=200))
    return out.getvalue().splitlines()


def test_every_run_of_a_chain_is_looked_at(place):
    assert printed(base={"model": "starter"}, dpo={"model": "runs/dpo"}) == [
        "dpo: 2 of 5 prompts are trained on in runs/dpo, so its answers to them measure memory",
        "dpo: 1 of 5 prompts are trained on in runs/warm, so its answers to them measure memory",
    ]


def test_the_split_of_a_saved_data_set_is_read(place):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([{"prompt": "Question 30?", "completion": "x"}])
    datasets.DatasetDict({"train_sft": rows}).save_to_disk("saved")
    run("split", "sft", "saved@train_sft", "starter")
    assert printed(base={"model": "starter"}, a={"model": "runs/split"}) == [
        "a: 1 of 5 prompts are trained on in runs/split, so its answers to them measure memory"
    ]


def test_a_system_behind_an_endpoint_is_not_the_run_in_the_working_folder(place, monkeypatch):
    """Its recipe names files relative to the folder in which it was trained."""
    for name in ("pairs.jsonl", "prompts.jsonl"):
        (place / "runs/dpo" / name).write_text((place / name).read_text())
    monkeypatch.chdir(place / "runs/dpo")
    endpoint = {"base_url": "http://127.0.0.1:1/v1"}
    assert printed(a={"endpoint": endpoint}, b={"model": "starter"}) == []
    assert printed(a={"model": "."}, b={"model": "starter"})[0].startswith("a: 2 of 5 prompts are trained on")


def test_a_folder_whose_data_are_gone_is_said_and_others_are_left_out(place):
    (place / "shown.jsonl").unlink()
    assert printed(warm={"model": "runs/warm"}, file={"answers": "answers.jsonl"}) == [
        "warm: the prompts were not compared with the training data of runs/warm: shown.jsonl is not here"
    ]


def test_rows_that_the_run_held_out_are_no_training_prompts(place):
    recipe = Recipe.load("runs/dpo/config.yaml", ["data.eval=prompts.jsonl", "data.eval_rows=1"])
    (place / "runs" / "dpo" / "config.yaml").write_text(recipe.to_yaml())
    write("prompts.jsonl", [{"prompt": "Question 40?", "chosen": "x", "rejected": "y"}])
    assert printed(a={"model": "runs/dpo"}, b={"model": "starter"}) == []
