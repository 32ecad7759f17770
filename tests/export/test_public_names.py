"""The recipe of a card: without private folders and hosts, and otherwise as it was written."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from boresight.config.recipe import Recipe
from boresight.config.section import fields
from boresight.export.public_names import AT_SERVER, PATH_KEYS, PublicNames, hub_id

TEXTS = {
    "model.device",
    "model.allow_weights",
    "data.layout",
    "data.columns",
    "data.weight",
    "rollout.base_url",
    "rollout.key_env",
    "check.allow",
    "check.like",
}
"""Settings of free text that name no file."""
JUDGE_TEXTS = {"allow_weights", "check", "device", "endpoint", "key_env", "labels", "options", "weights"}
JUDGES = ("reward_model", "reward_endpoint", "reward_server", "llm", "recorded", "checks", "countdown")


def test_every_setting_of_free_text_is_known_to_be_a_path_or_none():
    given = [
        (name, kind) for name, kind, _, _ in fields(Recipe) if name.split(".")[0] not in ("method", "reward")
    ]
    free = {name for name, kind in given if re.search(r"\bstr\b", kind)}
    assert free - TEXTS == {key for key in PATH_KEYS if not key.startswith("reward.")}
    judges = {
        name
        for judge in JUDGES
        for name, kind, _, _ in fields(import_module(f"boresight.scorers.judges.{judge}").Config)
        if re.search(r"\bstr\b", kind) and "." not in name
    }
    assert judges - JUDGE_TEXTS == {key.removeprefix("reward.judge.") for key in PATH_KEYS if "judge" in key}


@pytest.mark.parametrize(
    "kept",
    [
        "openai/gsm8k:main@test",
        "Reply with yes/no only.",
        "Sort a/b/c, and/or nothing: 1/2 < </think>.",
        "/no_think",
        "see https://en.wikipedia.org/wiki/Tide?x=1#top or hf://datasets/openai/gsm8k",
        "a word / another",
        "q/" * 3000,
        "a\0/b",
        "boresight.tasks:score",
    ],
)
def test_text_is_kept(kept):
    names = PublicNames()
    assert names.recipe({"reward": [{"options": {"text": kept}}]}) == {
        "reward": [{"options": {"text": kept}}]
    }


@pytest.mark.parametrize(
    ("given", "public"),
    [
        ("/home/ann/lists/words.txt", "words.txt"),
        ("~/words.txt", "words.txt"),
        ("../ann/words.txt", "words.txt"),
        ("file:///home/ann/words.txt", "words.txt"),
        ("python /home/ann/check.py --data=/srv/x/y.jsonl, yes/no", "python check.py --data=y.jsonl, yes/no"),
        ("ask http://h:8000/v1 and http://10.0.0.3/x?key=y", "ask http://HOST/v1 and http://HOST/x"),
        ("https://ann:secret@example.com/data/x", "https://HOST/data/x"),
        ("http://[::1]:80/v1", "http://HOST/v1"),
        ("http://gpu.corp:80", "http://HOST"),
    ],
)
def test_folders_and_private_hosts_within_text_are_not_published(given, public):
    assert PublicNames().text(given) == public


@pytest.mark.parametrize(
    ("given", "public"),
    [
        ("openai/gsm8k:main@test", "openai/gsm8k:main@test"),
        ("org/pairs@train[:10%]", "org/pairs@train[:10%]"),
        ("starter", "starter"),
        ("generate:countdown-problems", "generate:countdown-problems"),
        ("data/mine/saved@test", "saved@test"),
        ("/home/ann@corp/pairs.jsonl", "pairs.jsonl"),
        ("data/pairs.jsonl", "pairs.jsonl"),
        ("runs/sft", "sft"),
        ("runs/sft/", "sft"),
        ("..", ".."),
    ],
)
def test_paths_are_published_without_their_folders(given, public):
    assert PublicNames().path(given) == public


def test_a_folder_that_exists_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub_id("shop/pairs") == "shop/pairs"
    (tmp_path / "shop/pairs").mkdir(parents=True)
    assert hub_id("shop/pairs") is None
    assert PublicNames().path("shop/pairs") == PublicNames().text("shop/pairs") == "pairs"


def test_no_two_files_share_a_name_and_no_two_keys_merge():
    """A file keeps its name throughout, and its split; one whose own name looks numbered takes the next."""
    sources = {
        "shop/train.jsonl": 0.4,
        "support/train.jsonl": 0.3,
        "x/2:train.jsonl": 0.2,
        "train.jsonl": 0.1,
    }
    options = {"http://a/v1": 1, "http://b/v1": 2, 3: "x"}
    recipe = {
        "data": {"train": sources, "eval": "./support/train.jsonl"},
        "reward": [{"function": "f", "options": options}],
    }
    found = PublicNames().recipe(recipe)
    names = ["train.jsonl", "2:train.jsonl", "2:2:train.jsonl", "3:train.jsonl"]
    assert found["data"] == {
        "train": dict(zip(names, sources.values(), strict=True)),
        "eval": "2:train.jsonl",
    }
    assert found["reward"][0]["options"] == {"http://HOST/v1": 1, "2:http://HOST/v1": 2, 3: "x"}


def test_a_servers_address_is_published_without_its_host_and_its_models_as_they_are_called():
    model = "accounts/fireworks/models/llama-v3"
    recipe = {
        "rollout": {"base_url": "https://vllm.example.com:8000/v1"},
        "reward": [
            {"judge": {"name": "reward_server", "endpoint": "http://h:8000/v1", "model": model}},
            {"judge": {"name": "reward_model", "model": "work/secret/rm"}},
        ],
    }
    found = PublicNames().recipe(recipe)
    assert found["rollout"]["base_url"] == "https://HOST/v1"
    assert found["reward"][0]["judge"] == {
        "name": "reward_server",
        "endpoint": "http://HOST/v1",
        "model": model,
    }
    assert found["reward"][1]["judge"]["model"] == "rm" and AT_SERVER in PATH_KEYS
