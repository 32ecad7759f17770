"""The embedded model: really SmolLM2, in a folder that any loader reads."""

from __future__ import annotations

import json

import pytest
import torch

from boresight.models.embedded import starter
from boresight.models.load import load_model, load_tokenizer


def test_the_cache_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert starter.cache_folder() == tmp_path / "boresight"


@pytest.mark.starter
def test_the_folder_is_a_plain_float32_model(starter):
    config = json.loads((starter / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["model_type"] == "llama"
    names = {f.name for f in starter.iterdir()}
    assert {"model.safetensors", "generation_config.json", "tokenizer.json", "chat_template.jinja"} <= names
    tokenizer = load_tokenizer(str(starter))
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)


@pytest.mark.starter
@pytest.mark.slow
def test_it_knows_something(starter):
    """The weights are the real ones: it answers, and stops at the end of its turn."""
    model, tokenizer = load_model(str(starter), device="cpu"), load_tokenizer(str(starter))
    question = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")[
        "input_ids"
    ]
    with torch.no_grad():
        answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)[
            0, ids.shape[1] :
        ]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == tokenizer.eos_token_id
