"""Tiny runs and their exported GGUF files, for every test of the format."""

import json

import pytest
from rich.console import Console
from tokenizers import Regex, pre_tokenizers

from boresight.config.recipe import Recipe
from boresight.export.command import export
from boresight.export.gguf import vocabulary
from boresight.runs.train import run_training
from tests.tiny import tiny_model, tiny_tokenizer
from tests.versions import is_older

QUIET = Console(quiet=True)
QWEN2 = next(pattern for pattern, name in vocabulary.SPLITS.items() if name == "qwen2")
FILES = ("f16", "q8_0", "q4_0")
READS_LLAMA = not is_older("transformers", "5.18")
"""Older versions read no SentencePiece-like vocabulary without a token for the beginning."""


def tokenizer_of(kind, template="chatml"):
    """A tiny tokenizer with a pre-tokenizer that llama.cpp has a name for."""
    tokenizer = tiny_tokenizer(template)
    first = {
        "smollm": pre_tokenizers.Digits(individual_digits=True),
        "qwen2": pre_tokenizers.Split(Regex(QWEN2), "isolated"),
    }[kind]
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "smollm")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, last])
    return tokenizer


@pytest.fixture(scope="session")
def run_of(tmp_path_factory):
    """`run_of(arch)` is a run of two steps with adapters, trained once."""
    home = tmp_path_factory.mktemp("gguf")

    def make(arch):
        folder = home / f"run-{arch}"
        if not folder.is_dir():
            rope = {"rope_type": "default", "rope_theta": 500.0}  # nobody's default
            own = {"tie_word_embeddings": True, "head_dim": 16} if arch == "llama" else {}
            tiny_model(arch, rope_parameters=rope, **own).save_pretrained(home / arch)
            tokenizer_of("smollm" if arch == "llama" else "qwen2").save_pretrained(home / arch)
            rows = [
                {"prompt": f"say {i}", "chosen": "green " * (1 + i % 3), "rejected": "red"} for i in range(24)
            ]
            (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            raw = {
                "method": {"name": "dpo"},
                "model": {"name": str(home / arch), "lora": {"r": 4, "dropout": 0.0}},
                "data": {"train": str(home / "pairs.jsonl")},
                "optim": {"lr": 0.02},
                "train": {"batch": 8, "steps": 2},
                "evaluate": {"prompts": "demo:heldout-prompts", "samples": 4, "max_new_tokens": 6},
            }
            run_training(Recipe.parse(raw), folder, QUIET)
        return folder

    return make


@pytest.fixture(scope="session")
def exported(run_of, tmp_path_factory):
    """`exported(arch)` is the folder with the files of a run, and what was printed."""
    home, made = tmp_path_factory.mktemp("out"), {}

    def make(arch):
        if arch == "llama" and not READS_LLAMA:
            pytest.skip("this transformers reads no such tokenizer")
        if arch not in made:
            console = Console(record=True, width=500)
            export(run_of(arch), home / arch, "merged", "float32", console, ",".join(FILES), answers=3)
            made[arch] = home / arch, console.export_text()
        return made[arch]

    return make
