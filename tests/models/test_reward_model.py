"""Reward models: scores do not depend on padding, and what we save is what transformers loads."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from boresight.config.lora import LoraConfig
from boresight.config.recipe import Recipe
from boresight.models import lora as lora_of
from boresight.models.head import reads_end_of_turn
from boresight.models.load import load_model
from boresight.models.reward import completion_scores, load_reward_model, wire_pad_token
from boresight.runs.train import run_training
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fixtures import random_rows


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_a_row_scores_the_same_alone_and_in_a_batch(base):
    model = load_reward_model(str(base))
    rows = random_rows(6, 2)
    together = completion_scores(model, rows)
    for row, scores in zip(rows, together, strict=True):
        torch.testing.assert_close(completion_scores(model, [row])[0], scores, rtol=1e-5, atol=1e-6)
    assert together.shape == (6, 2)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gpt_neox"])
def test_packed_scores_and_gradients_are_the_padded_ones(family, tmp_path):
    """The same function in float64; one completion is empty, so that its score is the prompt's.

    Gradients are compared with the largest entry of each: norms round to float32 inside float64 models.
    """
    tiny_model(family).save_pretrained(tmp_path)
    model = load_reward_model(str(tmp_path)).double()
    rows = random_rows(5, 3)
    empty = replace(rows[0].completions[1], ids=rows[0].prompt[:0], mask=rows[0].completions[1].mask[:0])
    rows[0] = replace(rows[0], completions=(rows[0].completions[0], empty, rows[0].completions[2]))
    weights = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    found = []
    for layout in ("padded", "packed"):
        model.zero_grad()
        scores = completion_scores(model, rows, layout=layout)
        (scores * weights).sum().backward()
        found.append((scores.detach(), {n: p.grad for n, p in model.named_parameters()}))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-6, atol=1e-7)
    for name, grad in found[0][1].items():
        assert (found[1][1][name] - grad).abs().max() <= 1e-6 * grad.abs().max(), name


def test_pad_is_not_the_token_a_turn_ends_with(base):
    model, tokenizer = load_reward_model(str(base)), tiny_tokenizer()
    tokenizer.pad_token = "<|im_end|>"
    wire_pad_token(model, tokenizer)
    assert tokenizer.pad_token != "<|im_end|>"
    assert model.config.pad_token_id == tokenizer.pad_token_id


def test_it_starts_from_an_adapted_model(base, tmp_path):
    adapted = lora_of.attach(load_model(str(base)), LoraConfig(r=2, dropout=0), seed=0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.3)
    lora_of.save(adapted, tmp_path / "sft/model")
    started = load_reward_model(str(tmp_path / "sft")).base_model.state_dict()
    expected = load_model(str(tmp_path / "sft")).base_model.state_dict()
    plain = load_reward_model(str(base)).base_model.state_dict()
    assert all(torch.equal(started[name], value) for name, value in expected.items())
    assert any(not torch.equal(started[name], value) for name, value in plain.items())


@pytest.mark.parametrize("lora", [None, {"r": 4, "dropout": 0.0}])
def test_what_we_save_transformers_loads_and_scores_alike(tmp_path, base, lora):
    """Train on pairs where good answers hold 'green'; then score a padded batch with transformers itself."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    pairs = [
        {"prompt": f"say {i}", "chosen": "green " * (1 + i % 3), "rejected": "red " * (1 + i % 4)}
        for i in range(24)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    raw = {
        "method": {"name": "reward"},
        "model": {"name": str(base), "lora": lora},
        "data": {"train": str(tmp_path / "pairs.jsonl")},
        "optim": {"lr": 0.01},
        "train": {"batch": 8, "steps": 20},
    }
    run_training(Recipe.parse(yaml.safe_load(yaml.safe_dump(raw))), tmp_path / "run", Console(quiet=True))
    numbers = json.loads((tmp_path / "run/evaluation.json").read_text())["metrics"]
    assert numbers[0]["name"] == "accuracy" and numbers[0]["after"]["value"] == 1.0

    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run/model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run/model")
    rows = random_rows(5, 1)
    texts = [np.append(np.concatenate([r.prompt, r.completions[0].ids]), _end(tokenizer)) for r in rows]
    batch = tokenizer.pad(
        {"input_ids": [t.tolist() for t in texts]}, return_tensors="pt", padding_side="right"
    )
    with torch.no_grad():
        scored = theirs(**batch).logits.squeeze(-1)
    ours = [
        float(completion_scores(theirs, [_ending(row, text)])) for row, text in zip(rows, texts, strict=True)
    ]
    assert scored.tolist() == pytest.approx(ours, abs=1e-5)
    again = load_reward_model(str(tmp_path / "run/model"), device="cpu")
    assert reads_end_of_turn(again)
    (tmp_path / "run/config.yaml").unlink()  # as exported: the model's own files say it
    assert reads_end_of_turn(load_reward_model(str(tmp_path / "run/model"), device="cpu"))
    assert completion_scores(again, rows).flatten().tolist() == pytest.approx(
        completion_scores(theirs, rows).flatten().tolist(), abs=1e-5
    )


def _end(tokenizer) -> int:
    return tokenizer.convert_tokens_to_ids("<|im_end|>")


def _ending(row, text):
    from boresight.data.rows import Completion, Row

    answer = text[len(row.prompt) :].astype(np.int32)
    return Row(row.id, row.prompt, (Completion(answer, np.ones(len(answer), bool)),))
