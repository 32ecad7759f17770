"""Odd text in data, answers, ids and names breaks no verb, and reaches the terminal as symbols."""

from __future__ import annotations

import json

import pytest
import yaml

from boresight.cli import exits, main
from tests.odd_text import ODD, TERMINAL, TEXT
from tests.reports.fake_run import write_fake_run
from tests.tiny import tiny_model, tiny_tokenizer

CODES = {exits.DONE, exits.FOUND, exits.BAD_INPUT}


@pytest.fixture
def said(capsys, tmp_path, monkeypatch):
    """`said("report", …)` runs a verb and returns its code and what it printed, which must be harmless."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main.main([*arguments])
        text = "".join(capsys.readouterr())
        assert left.value.code in CODES, text[-500:]
        assert not set(text) & set(TERMINAL)
        text.encode("utf-8")
        return left.value.code, text

    return run


LENGTH = "def length(prompts, completions, rows):\n    return [float(len(text)) for text in completions]\n"


def pairs(text):
    """Rows of which every string is odd."""
    return [
        {
            "id": f"{n}{text}",
            "prompt": f"{n}{text}",
            "chosen": f"yes {n}{text}",
            "rejected": f"no {n}",
            text: text,
        }
        for n in range(8)
    ]


ROWS = {
    "pairs": pairs(TEXT),
    "pairs with halves of surrogates": pairs(ODD),
    "messages": [
        {
            "messages": [{"role": "user", "content": TEXT}, {"role": "assistant", "content": f"{n}{TEXT}"}],
            ODD: n,
        }
        for n in range(8)
    ],
    "odd roles": [{"messages": [{"role": ODD, "content": "a"}, {"role": "assistant", "content": "b"}]}],
    "odd columns alone": [{ODD: 1}],
    "odd labels": [{"prompt": "a", "completion": "b", "label": ODD}],
    "one long line": [{"prompt": "a" * 10**6, "chosen": "b" * 10**6, "rejected": "c" * 10**6}],
}


SLOW = {"one long line"}


@pytest.mark.parametrize(
    "rows", [pytest.param(rows, marks=pytest.mark.slow if rows in SLOW else ()) for rows in ROWS]
)
def test_data_of_odd_text(rows, said, tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[rows]))
    recipe = {
        "method": {"name": "dpo" if "pairs" in rows else "sft"},
        "model": {"name": "model", "device": "cpu"},
    }
    recipe |= {"data": {"train": "rows.jsonl", "eval_rows": 2}, "optim": {"lr": 1e-4}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    said("data", "check", "rows.jsonl")
    said("data", "show", "rows.jsonl", "--model", "model", "--max-length", "64")
    said("check", "recipe.yaml")


def test_a_run_of_odd_text(said, tmp_path):
    odd = "".join(sign for sign in ODD if sign not in "\0\ud800\udfff")
    names = [tmp_path / f"{letter}{odd}" for letter in "ab"]
    for seed, folder in enumerate(names):
        write_fake_run(folder, seed=seed, steps=24, hostile=True)
    assert said("report", str(names[0]))[0] == 0
    assert said("compare", *map(str, names))[0] == 0
    assert said("explain", str(names[0]))[0] == 0
    for file in tmp_path.rglob("*.*"):
        if file.suffix in (".html", ".md", ".tex", ".csv"):
            file.read_bytes().decode("utf-8")


def test_a_table_of_odd_names(said, tmp_path):
    odd = ODD.replace("\ud800", "").replace("\udfff", "").replace("\r", "")
    (tmp_path / "t.csv").write_text(f'system,k,n\n"a{odd}",5,10\n"b{odd}",6,10\n', encoding="utf-8")
    assert said("compare", "t.csv")[0] == 0
    (tmp_path / "t.csv").write_bytes(b"system,k,n\n\xff,5,10\nb,6,10\n")
    assert said("compare", "t.csv")[0] == 2
    (tmp_path / "t.csv").write_text("system,k,n\n" + "a" * 200_000 + ",5,10\nb,6,10\n")
    assert said("compare", "t.csv")[0] in (0, 2)


def test_answers_of_odd_systems(said, tmp_path):
    prompts = [{"id": f"{n}{TEXT}", "prompt": f"say {n} {TEXT}"} for n in range(6)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    for name in "ab":
        rows = [row | {"answer": f"{name * n} {ODD}"} for n, row in enumerate(prompts)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    systems = {f"{name} {ODD}": {"answers": f"{name}.jsonl"} for name in "ab"}
    (tmp_path / "odd_text_rewards.py").write_text(LENGTH)
    recipe = {"prompts": "prompts.jsonl", "systems": systems}
    recipe |= {"judge": {"name": "checks", "check": "odd_text_rewards:length"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code, text = said("evaluate", "recipe.yaml", "--run", "out")
    assert code == 0, text
    assert said("report", "out")[0] in CODES
