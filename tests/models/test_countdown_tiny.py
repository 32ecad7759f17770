"""The tiny Countdown model: its size, its tokenizer through save and load, and that its seed decides."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from boresight.models.embedded import countdown_tiny
from boresight.tasks.countdown import generate_problems, score, search_trace
from boresight.tasks.countdown.problems import TINY


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("countdown-tiny")
    countdown_tiny.build_countdown_tiny(folder, seed=0)
    return folder


def test_it_has_870_thousand_parameters(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) == 868_224
    assert model.dtype == torch.float32


def test_the_seed_decides_the_weights(folder, tmp_path):
    state = torch.random.get_rng_state()
    for seed in (0, 1):
        countdown_tiny.build_countdown_tiny(tmp_path / str(seed), seed)
    folders = (tmp_path / "0", tmp_path / "1", folder)
    same, other, first = (AutoModelForCausalLM.from_pretrained(f).lm_head.weight for f in folders)
    assert torch.equal(same, first) and not torch.equal(other, first)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_loaded_tokenizer_reads_numbers_as_single_tokens(folder):
    """AutoTokenizer must not swap in a class of its own, as it does for Qwen2."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "<user>12 7 8 = 29<assistant><answer> (12+7) * 8 </answer><eos>"
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    assert " ".join(tokens) == "<user> 12 7 8 = 29 <assistant> <answer> ( 12 + 7 ) * 8 </answer> <eos>"
    assert tokenizer.eos_token == "<eos>" and tokenizer.pad_token == "<pad>" and tokenizer.is_fast
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == tokenizer.eos_token_id


def test_demonstrations_survive_the_round_trip(folder):
    """Encode by template, cut at the prompt, decode: the verifier still accepts the answer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for p in generate_problems(50, seed=0, **TINY):
        messages = search_trace(p).messages
        whole = tokenizer.apply_chat_template(messages)["input_ids"]
        asked = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True)["input_ids"]
        assert whole[: len(asked)] == asked and whole[-1] == tokenizer.eos_token_id
        assert tokenizer.unk_token_id not in whole
        assert len(whole) - len(asked) <= 48  # as the recipes allow
        completion = tokenizer.decode(whole[len(asked) :], skip_special_tokens=True)
        assert score(completion, p.numbers, p.target).correct


def test_two_numbers_in_a_row_do_not_run_together(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("1 2")["input_ids"]) == "1 2"


def test_the_cache_holds_it_under_its_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = countdown_tiny.path(seed=3)
    assert folder == countdown_tiny.path(seed=3) and (folder / "model.safetensors").is_file()
    assert folder.parent == tmp_path / "boresight" and folder.name.endswith("seed3")
