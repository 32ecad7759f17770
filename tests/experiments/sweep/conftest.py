"""A tiny run to sweep: a random two-layer model and pairs that any learning rate above nothing fits."""

import json

import pytest
import yaml

from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """Folder with a model and pairs."""
    folder = tmp_path_factory.mktemp("swept")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [
        {"prompt": f"say {n}", "chosen": "the answer " * (1 + n % 3), "rejected": "red green " * (1 + n % 2)}
        for n in range(80)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def raw(tiny_base):
    """A sweep of six settings as nested dictionaries; tests change it."""
    base = {
        "method": {"name": "dpo"},
        "model": {"name": str(tiny_base / "model")},
        "data": {"train": str(tiny_base / "pairs.jsonl"), "eval_rows": 16},
        "optim": {"lr": 1e-5},
        "train": {"batch": 8, "steps": 4, "eval_every": 1},
        "evaluate": {"samples": 0, "kl_rows": 0},
        "check": {"probes": 0},
    }
    return {
        "recipe": base,
        "space": {"optim.lr": [1e-5, 3e-4, 1e-3], "method.beta": [0.1, 0.3]},
        "metric": "margin",
        "confirm": {"top": 1, "seeds": 2},
    }


@pytest.fixture
def written(raw, tmp_path):
    """Write a sweep and its recipe as files; returns the sweep's path."""

    def write(**changes):
        parts = raw | changes
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(parts["recipe"]))
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(parts | {"recipe": "base.yaml"}))
        return path

    return write
