"""The set-up of a report: labels and values in words, each with its key."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from boresight.reports.facts import facts
from boresight.reports.page import write_report
from boresight.reports.read_run import RunData
from boresight.reports.tables.setup import (
    SetupFact,
    changed_settings,
    data_facts,
    environment_in_words,
    in_words,
    keyed_value_in_words,
)
from tests.reports.fake_run import write_fake_run


def recipe(**data: object) -> dict:
    return {
        "method": {"name": "dpo", "beta": 0.3},
        "data": {"train": "p.jsonl", "eval_rows": 200, **data},
        "optim": {"lr": 2e-4, "clip": None},
        "model": {"lora": {"r": 16}},
    }


def test_settings_are_those_that_differ_from_the_defaults():
    """Of DPO's settings beta is not the default 0.1; eval_rows of 200 and a rank of 16 are defaults."""
    found = {fact.key: (fact.label, fact.value) for fact in changed_settings(recipe())}
    assert found["method.beta"] == ("beta", "0.3")
    assert found["optim.lr"] == ("learning rate", "0.0002")
    assert found["optim.clip"] == ("largest gradient norm", "none")
    assert found["data.train"] == ("training data", "p.jsonl")
    assert "data.eval_rows" not in found and "train.batch" not in found
    assert found["model.lora.targets"] == ("layers with adapters", "q_proj; k_proj; v_proj; and 1 more")


def test_a_seed_has_no_separators():
    found = {fact.key: fact.value for fact in changed_settings(recipe() | {"train": {"seed": 20260101}})}
    assert found["train.seed"] == "20260101"
    assert keyed_value_in_words("train.steps", 20260101) == "20,260,101"


def test_sources_and_columns_are_one_line_each():
    columns, shares = {"prompt": "ask", "chosen": "good"}, {"a.jsonl": 0.75, "b.jsonl": 0.25}
    found = {fact.key: fact.value for fact in changed_settings(recipe(train=shares, columns=columns))}
    assert found["data.train"] == "a.jsonl: 0.75, b.jsonl: 0.25"
    assert found["data.columns"] == "prompt: ask, chosen: good"


@pytest.mark.parametrize("config", [{}, {"method": {"name": "mine.py"}}, {"method": "dpo", "old": 1}])
def test_a_recipe_that_cannot_be_read_has_no_settings(config):
    assert changed_settings(config) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "none"),
        ({}, "none"),
        ([], "none"),
        (True, "yes"),
        (False, "no"),
        (12345, "12,345"),
        (1e-06, "1e-06"),
        ([1, 2, 3], "1; 2; 3"),
        ([1, 2, 3, 4, 5], "1; 2; 3; and 2 more"),
        ({"rows": 1200, "of": None}, "rows: 1,200, of: none"),
        ([{"row": 3, "field": "chosen"}], "row: 3, field: chosen"),
    ],
)
def test_values_in_words(value, words):
    assert in_words(value) == words


def test_data_and_environment():
    split = {"path": "p.jsonl", "sha256": "0123456789abcdef", "rows": 1200, "bad": [], "new_key": True}
    assert data_facts(split) == [
        SetupFact("SHA-256 of the source", "sha256", "0123456789ab"),
        SetupFact("rows of this split", "rows", "1,200"),
        SetupFact("malformed rows", "bad", "none"),
        SetupFact("new key", "new_key", "yes"),
    ]
    assert environment_in_words({"packages": {"torch": "2.13.0", "peft": None}, "gpu": None}) == [
        SetupFact("torch", "packages.torch", "2.13.0"),
        SetupFact("peft", "packages.peft", "not installed"),
        SetupFact("GPU", "gpu", "none"),
    ]


@pytest.mark.parametrize(
    ("train", "steps", "shown"),
    [
        ({"batch": 4, "steps": 4}, 4, "16 (0.14 epochs)"),
        ({"batch": 32}, 4, "112 (1 epoch)"),  # the last batch has 16 rows
        ({"batch": 32, "epochs": 2.0}, 7, "112 (2 epochs)"),
        ({"batch": 32, "epochs": 2.0}, 1, "32 (0.29 epochs)"),  # stopped
        ({"batch": 112, "steps": 125}, 125, "112 (125 epochs)"),
        ({"batch": 112, "steps": 1200}, 1200, "112 (1,200 epochs)"),
        ({}, 4, None),
    ],
)
def test_the_rows_that_were_trained_on_by_hand(train, steps, shown):
    """112 rows, of which a short run sees fewer."""
    log = [{"step": step + 1, "loss": 0.5} for step in range(steps)]
    run = RunData("run", Path("run"), True, config={"train": train}, data={"train": {"kept": 112}}, train=log)
    assert dict(facts(run)).get("rows trained on") == shown
    sampled = [{**line, "reward": 0.5} for line in log]
    assert "rows trained on" not in dict(facts(replace(run, train=sampled)))


def test_the_page_has_labels_with_keys_and_no_values_of_python(tmp_path):
    html = write_report(write_fake_run(tmp_path / "run", steps=24)).read_text()
    setup = re.search(r'<section id="setup">.*?</section>', html, re.S)[0].partition("<details")[0]
    assert "learning rate <code>optim.lr</code>" in setup and "rows used <code>kept</code>" in setup
    values = re.findall(r"<dd>(.*?)</dd>", setup)
    assert len(values) > 20 and not [v for v in values if re.search(r"None|True|False|[{}\[\]]", v)]
