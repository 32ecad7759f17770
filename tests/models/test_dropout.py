"""A model's own dropout: found under any name, and off where a method compares."""

from __future__ import annotations

import json

import pytest
import torch
import transformers as hf
from rich.console import Console

from boresight import methods
from boresight.config.recipe import Recipe
from boresight.models.dropout import dropout_rates, set_dropout
from boresight.models.load import load_model
from boresight.models.reward import load_reward_model
from boresight.runs.train import run_training
from boresight.training.forward import INPUT_KINDS
from tests.tiny import tiny_tokenizer

IDS = torch.arange(3, 20)[None]


@pytest.fixture
def gpt2(tmp_path):
    """GPT-2 as it ships, with dropout of 0.1 in three places."""
    tokenizer = tiny_tokenizer()
    config = hf.GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=256)
    config.bos_token_id = config.eos_token_id = tokenizer.eos_token_id
    torch.manual_seed(0)
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def parsed(method, **model):
    raw = {"method": {"name": method}, "data": {"train": "x.jsonl"}, "optim": {"lr": 1e-5}}
    return Recipe.parse(raw | ({"model": model} if model else {})).model


def test_rates_are_found_and_set_under_every_name():
    config = hf.GPT2Config()
    rates = {"attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1}
    assert dropout_rates(config) == rates
    set_dropout(config, 0.25)
    assert dropout_rates(config) == dict.fromkeys(rates, 0.25)
    set_dropout(config, 0.0)
    assert dropout_rates(config) == {}
    assert dropout_rates(hf.OPTConfig(dropout=0.1, layerdrop=0.2)) == {"dropout": 0.1, "layerdrop": 0.2}
    assert dropout_rates(hf.LlamaConfig()) == {}


def test_noise_of_experts_goes_with_the_dropout():
    for kind, rate, left in (
        (hf.MixtralConfig, 0.0, 0),
        (hf.MixtralConfig, 0.2, 0.1),
        (hf.PhimoeConfig, 0.0, 0.1),
    ):
        config = kind(router_jitter_noise=0.1)
        set_dropout(config, rate)
        assert config.router_jitter_noise == left


@pytest.mark.parametrize("load", [load_model, load_reward_model])
def test_a_model_is_built_with_the_rate(gpt2, load):
    still = load(str(gpt2), dropout=0.0).train()
    assert torch.equal(still(input_ids=IDS[:, :9]).logits, still(input_ids=IDS[:, :9]).logits)
    noisy = load(str(gpt2)).train()
    assert not torch.equal(noisy(input_ids=IDS[:, :9]).logits, noisy(input_ids=IDS[:, :9]).logits)


@pytest.mark.parametrize("method", methods.names())
def test_methods_that_compare_switch_it_off_unless_told(method):
    needs_reference = INPUT_KINDS[methods.get(method).Input].needs_reference
    assert parsed(method).dropout == (0.0 if needs_reference else None)
    assert parsed(method, dropout=0.1).dropout == 0.1
    assert parsed(method, dropout=None).dropout is None


@pytest.mark.parametrize("method", methods.names())
def test_adapters_have_a_default_that_the_method_accepts(method):
    samples = INPUT_KINDS[methods.get(method).Input].online
    assert parsed(method, lora={}).lora.dropout == (0.0 if samples else 0.1)
    assert parsed(method, lora={"r": 4, "dropout": 0.2}).lora.dropout == 0.2
    assert parsed(method).lora is None


def test_dpo_runs_on_a_model_that_ships_with_dropout(gpt2, tmp_path):
    """It ended at step 0 before: the policy was not its own reference."""
    rows = [{"prompt": f"say {i}", "chosen": "green", "rejected": "red"} for i in range(24)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "method": {"name": "dpo"},
        "model": {"name": str(gpt2), "lora": {"targets": ["c_attn", "c_proj"]}},
        "data": {"train": str(tmp_path / "pairs.jsonl"), "max_length": 64},
        "optim": {"lr": 1e-3},
        "train": {"batch": 8, "steps": 2},
        "evaluate": {"samples": 0, "kl_rows": 0},
        "check": {"probes": 0, "allow": ["few-steps", "learning-rate-budget"]},
    }
    run_training(Recipe.parse(recipe), tmp_path / "run", Console(quiet=True))
    first = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(0.6931, abs=1e-3)
