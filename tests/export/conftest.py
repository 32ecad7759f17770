"""Finished runs of the tiny model, trained for a few steps by the real thing."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.runs.train import run_training
from tests.export.gguf_runs import exported, run_of
from tests.tiny import tiny_model, tiny_tokenizer

__all__ = ["exported", "run_of", "trained"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """`trained(method, lora)` is the folder of a run, trained once."""
    home = tmp_path_factory.mktemp("trained")
    # A rope base that is nobody's default: a reader who misses it is found out.
    tiny_model(rope_parameters={"rope_type": "default", "rope_theta": 500.0}).save_pretrained(home / "base")
    tiny_tokenizer().save_pretrained(home / "base")
    pairs = [
        {"prompt": f"say {i}", "chosen": "green " * (1 + i % 3), "rejected": "red " * (1 + i % 4)}
        for i in range(24)
    ]
    (home / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))

    def make(method="dpo", lora=None):
        folder = home / f"{method}-{'lora' if lora is not None else 'full'}"
        if not folder.is_dir():
            raw = {
                "method": {"name": method},
                "model": {"name": str(home / "base"), "lora": lora},
                "data": {"train": str(home / "pairs.jsonl")},
                "optim": {"lr": 0.02},
                "train": {"batch": 8, "steps": 4},
                "evaluate": {"samples": 3, "max_new_tokens": 6},
            }
            run_training(Recipe.parse(raw), folder, Console(quiet=True))
        return folder

    return make
