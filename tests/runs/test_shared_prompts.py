"""Held-out rows that share a prompt are one unit in every interval of a run."""

from __future__ import annotations

import json

import pytest

import boresight
from boresight.core.files import read_state, write_state
from boresight.reports.headline import headline
from boresight.reports.read_run import read_run
from boresight.runs.explain import explain
from boresight.runs.training_folder import TrainingFolder
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A model, and two pairs for each of 40 prompts."""
    monkeypatch.setattr("boresight.core.files.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    rows = [
        {"prompt": f"say {n // 2}", "chosen": f"the answer {n % 7}", "rejected": f"red green {n % 5}"}
        for n in range(80)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def recipe(method):
    return {
        "method": {"name": method},
        "model": {"name": "model", "device": "cpu"},
        "data": {"train": "pairs.jsonl", "eval_rows": 16},
        "optim": {"lr": 1e-4},
        "train": {"batch": 8, "steps": 2, "guard": None},
        "evaluate": {"samples": 4, "max_new_tokens": 4, "kl_rows": 4},
        "check": {"allow": ["learning-rate-budget"], "probes": 4},
    }


@pytest.mark.parametrize(("method", "rows_per_prompt"), [("dpo", 2), ("kto", 4)])
def test_n_counts_prompts(place, method, rows_per_prompt):
    run = boresight.train(recipe(method), run="run", quiet=True)
    held_out = read_state(place / "run" / "data.json")["eval"]
    assert held_out["kept"] == rows_per_prompt * held_out["prompts"]
    for name in ("accuracy", "margin"):
        found = run.metric(name)
        assert found.after.n == found.difference.n == held_out["prompts"]
    last = [line for line in run.eval if "answers" in line][-1]
    assert last["answers"] == (2 if method == "dpo" else 4)  # KTO answers each prompt once
    assert f"paired over {held_out['prompts']} prompts" in headline(run).detail
    explain(place / "run")


def test_a_folder_without_that_knowledge_counts_rows_and_says_so(place):
    boresight.train(recipe("dpo"), run="run", quiet=True)
    evaluation = read_state(place / "run" / "evaluation.json")
    del evaluation["same_prompts"]
    write_state(place / "run" / "evaluation.json", evaluation)
    data = read_state(place / "run" / "data.json")
    older = {**data, "eval": {name: value for name, value in data["eval"].items() if name != "prompts"}}
    write_state(place / "run" / "data.json", older)
    TrainingFolder(place / "run").refuse_other_data(data)  # it can be resumed and measured again
    named = {**data, "train": {**data["train"], "path": f"{data['train']['path']}@train_prefs"}}
    TrainingFolder(place / "run").refuse_other_data(named)  # so can one that did not store the split
    run = read_run(place / "run")
    assert run.same_prompts is None and " rows" in headline(run).detail
