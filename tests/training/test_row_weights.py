"""`data.weight` in whole runs: a row of weight 2 trains as the row twice, and bad weights are named."""

from __future__ import annotations

import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.runs.train import run_training
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def trained(tmp_path):
    """Train the tiny model for one step on rows; returns the folder of the run."""
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")

    def train(name: str, rows: list[dict], *settings: str):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        raw = {
            "method": {"name": "dpo"},
            "model": {"name": str(tmp_path / "model")},
            "data": {"train": str(tmp_path / f"{name}.jsonl"), "eval_rows": 0},
            "optim": {"lr": 1e-3, "warmup": 0.0},
            "train": {"batch": len(rows), "steps": 1, "tokens_per_forward": 64},
            "evaluate": {"samples": 0},
        }
        run_training(Recipe.parse(raw).changed(settings), tmp_path / name, Console(quiet=True))
        return tmp_path / name

    return train


def row(number: int, **more) -> dict:
    return {"id": f"row-{number}", "prompt": f"say {number}", "chosen": "green", "rejected": "red red"} | more


def test_a_row_of_weight_2_trains_as_the_row_twice(trained):
    """Adam's first step hides the scale of a gradient, so the direction must differ: three unlike rows."""
    answers = [{"chosen": "green"}, {"chosen": "blue blue"}, {"chosen": "white"}]
    once = [row(n, **a, w=w) for n, (a, w) in enumerate(zip(answers, (2, 1, 1), strict=True))]
    twice = [row(n, **answers[n % 3]) | {"prompt": f"say {n % 3}"} for n in (0, 1, 2, 3)]
    runs = {
        "weighted": trained("weighted", once, "data.weight=w"),
        "twice": trained("twice", twice),
        "plain": trained("plain", once),
    }
    loss = {name: _loss(run) for name, run in runs.items()}
    weights = {name: load_file(run / "model/model.safetensors") for name, run in runs.items()}
    assert loss["weighted"] == pytest.approx(loss["twice"], rel=1e-6)
    for name, tensor in weights["weighted"].items():
        torch.testing.assert_close(tensor, weights["twice"][name], rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(weights["plain"][name], t) for name, t in weights["weighted"].items())


def _loss(run) -> float:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return next(row["loss"] for row in rows if "loss" in row)


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        ({}, r"row 'row-1': `w` is missing"),
        ({"w": 0}, r"row 'row-1': `w` is 0; data\.weight needs a number above 0"),
        ({"w": -1.5}, "is -1.5"),
        ({"w": "2"}, "is '2'"),
        ({"w": True}, "is True"),
        ({"w": None}, "is None|is missing"),
    ],
)
def test_a_row_without_a_usable_weight_is_named(trained, weight, says):
    with pytest.raises(UserError, match=says):
        trained("bad", [row(0, w=1), row(1, **weight)], "data.weight=w")


def test_methods_that_sample_refuse_weights():
    raw = {"method": {"name": "rloo"}, "data": {"train": "x.jsonl", "weight": "w"}, "optim": {"lr": 1e-5}}
    with pytest.raises(UserError, match=r"data\.weight has no effect where answers are sampled"):
        Recipe.parse(raw)
