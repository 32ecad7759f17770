"""The recipes that sample, each for two steps on a tiny model: they fit their data and rewards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.runs.train import run_training
from tests.tiny import tiny_model, tiny_tokenizer

RECIPES = Path(__file__).parents[2] / "recipes"
ONLINE = [
    path
    for path in sorted(RECIPES.glob("*/*.yaml"))
    if path.parent.name in ("constraints", "gsm8k") and "rollout:" in path.read_text()
]
SMALL = ["train.steps=2", "train.batch=4", "rollout.max_new_tokens=8", "evaluate.max_new_tokens=8"]
PROBLEMS = [
    {"question": f"What is {a} + 2?", "answer": f"{a} + 2 = <<{a}+2={a + 2}>>{a + 2}\n#### {a + 2}"}
    for a in range(12)
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model whose positions hold a request, and problems with the columns of GSM8K."""
    folder = tmp_path_factory.mktemp("online")
    tiny_model(max_position_embeddings=2048).save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS))
    return folder


@pytest.mark.parametrize("path", ONLINE, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_online_recipe_runs_on_stand_ins(path, place, tmp_path):
    recipe = Recipe.load(
        path, [*SMALL, f"model.name={place / 'model'}", "evaluate.samples=4", "data.max_length=2048"]
    )
    if path.parent.name == "gsm8k":
        pytest.importorskip("math_verify")
        problems = str(place / "problems.jsonl")
        recipe = recipe.changed(
            [f"data.train={problems}", f"evaluate.prompts={problems}", "evaluate.rewarded=4"]
        )
    run_training(recipe, tmp_path / "run", Console(quiet=True))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {row["step"] for row in rows} >= {1, 2}
    assert (tmp_path / "run" / "report.html").is_file()
