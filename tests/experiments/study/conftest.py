"""A study of tiny random models: two arms of DPO, one of SFT that another starts from, a few steps each."""

import json

import pytest
import yaml

from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """Folder with a model, pairs, and prompts whose answers can be checked; one prompt carries markup."""
    folder = tmp_path_factory.mktemp("studied")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [
        {
            "prompt": f"say {n // 2}",
            "chosen": "the answer " * (1 + n % 3),
            "rejected": "red green " * (1 + n % 2),
        }
        for n in range(48)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    constraint = {"kind": "max_words", "params": {"n": 15}}
    prompts = [
        {
            "id": f"p{n}",
            "prompt": [{"role": "user", "content": f"<img src=x onerror=alert({n})>"}],
            "meta": {"topic": "tea", "constraint": constraint},
        }
        for n in range(3)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    return folder


@pytest.fixture
def raw(tiny_base):
    """The plan as nested dictionaries; tests change it."""

    def arm(title, **more):
        return {"title": title, "group": "pairs", "recipe": "dpo.yaml"} | more

    return {
        "title": "tiny",
        "groups": {"pairs": {"title": "Pairs", "metrics": ["accuracy", "margin", "good"]}},
        "answers": {
            "groups": ["pairs"],
            "start": str(tiny_base / "model"),
            "prompts": str(tiny_base / "prompts.jsonl"),
            "max_new_tokens": 4,
            "shown": ["slow", "fast"],
        },
        "arms": {
            "slow": arm("slow <b>arm</b>", role="published", seeds=[0, 1]),
            "fast": arm("fast arm", role="tuned", set={"optim.lr": 0.01}, seeds=[0, 1]),
            "onward": arm("onward", starts_from="fast"),
        },
        "comparisons": [{"title": "DPO", "of": "slow", "to": "fast"}],
        "figures": {
            "loss": {"title": "Loss", "metric": "loss", "arms": ["slow", "fast"]},
            "held-out": {"title": "Margin", "metric": "margin", "split": "eval", "arms": ["fast"]},
        },
    }


@pytest.fixture
def written(raw, tiny_base, tmp_path):
    """Write plan and recipe as files; returns the plan's path."""

    def write(**changes):
        recipe = {
            "method": {"name": "dpo"},
            "model": {"name": str(tiny_base / "model")},
            "data": {"train": str(tiny_base / "pairs.jsonl"), "eval_rows": 9},
            "optim": {"lr": 1e-6},
            "train": {"batch": 4, "steps": 3, "eval_every": 3},
            "evaluate": {"samples": 0, "kl_rows": 0},
            "check": {"probes": 0},
        }
        (tmp_path / "dpo.yaml").write_text(yaml.safe_dump(recipe))
        path = tmp_path / "plan-tiny.yaml"
        path.write_text(yaml.safe_dump(raw | changes, sort_keys=False))
        return path

    return write
