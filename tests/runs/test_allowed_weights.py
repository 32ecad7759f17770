"""Weights that a recipe accepts as missing or left over: the run lists them, and its model loads again."""

from __future__ import annotations

import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import read_state
from boresight.models.load import load_model
from boresight.runs.train import run_training
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def base(tmp_path):
    """A model with one tensor too many, a vision tower say, beside two demonstrations."""
    folder = tmp_path / "base"
    tiny_model(tie_word_embeddings=False).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    weights = load_file(folder / "model.safetensors") | {"vision.patch": torch.ones(3)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    rows = [{"prompt": f"say {i}", "completion": "green"} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def train(base, folder, **model):
    recipe = {
        "method": {"name": "sft"},
        "model": {"name": str(base), **model},
        "data": {"train": str(base.parent / "rows.jsonl"), "max_length": 64, "eval_rows": 2},
        "optim": {"lr": 1e-3},
        "train": {"batch": 4, "steps": 1},
        "evaluate": {"samples": 0, "kl_rows": 0, "rewarded": 0},
        "check": {"probes": 0},
    }
    run_training(Recipe.parse(recipe), folder, Console(quiet=True))


@pytest.mark.parametrize("lora", [None, {"r": 2, "dropout": 0.0}])
def test_the_run_lists_what_it_accepted_and_loads_again(base, tmp_path, lora):
    with pytest.raises(UserError, match=r"1 is unknown to the model \(vision\.patch\)"):
        train(base, tmp_path / "strict", lora=lora)
    assert not (tmp_path / "strict").exists()
    train(base, tmp_path / "run", lora=lora, allow_weights=["vision.*"])
    listed = read_state(tmp_path / "run/weights.json")
    assert listed == {str(base): {"missing": [], "unexpected": ["vision.patch"], "mismatched": []}}
    load_model(str(tmp_path / "run"))


def test_adapters_need_a_base_that_is_not_drawn_at_random(base, tmp_path):
    weights = load_file(base / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    allow = ["vision.*", "lm_head.weight"]
    with pytest.raises(UserError, match=r"^model\.lora: lm_head\.weight is missing from the checkpoint"):
        train(base, tmp_path / "adapters", lora={"r": 2, "dropout": 0.0}, allow_weights=allow)
    train(base, tmp_path / "whole", allow_weights=allow)
    assert read_state(tmp_path / "whole/weights.json")[str(base)]["missing"] == ["lm_head.weight"]
    load_model(str(tmp_path / "whole"))
