"""Stored answers of an evaluation are those of the model as it is now, or are refused."""

from __future__ import annotations

import json
import shutil

import pytest

from boresight.core.errors import UserError
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.runs.evaluations import answering_model
from boresight.runs.evaluations.answering_model import model_digest
from tests.evaluation.test_harness import harness  # noqa: F401
from tests.rows import jsonl
from tests.runs.test_evaluate_reward import run_quietly
from tests.tiny import tiny_model, tiny_tokenizer

GREEDY = {"max_new_tokens": 2, "device": "cpu"}
KINDS = {
    "reward": {"reward": "tests.rewards:length"},
    "judge": {"judge": {"name": "checks", "check": "tests.rewards:length"}, "trust": {"controls": 0}},
    "lm_eval": {"lm_eval": {"tasks": ["parity"]}, "generate": {"device": "cpu"}},
}


def save(folder, seed):
    shutil.rmtree(folder, ignore_errors=True)
    tiny_model(seed=seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


@pytest.fixture
def model(tmp_path):
    save(tmp_path / "model", seed=1)
    return tmp_path / "model"


def made(kind, model):
    own = {"model": str(model)}
    raw = {"systems": {"one": own}, "generate": GREEDY} | KINDS[kind]
    if kind != "lm_eval":
        raw["prompts"] = jsonl(model.parent / "p.jsonl", [{"prompt": f"say {n}"} for n in range(3)])
    if kind == "judge":
        rows = [{"prompt": f"say {n}", "answer": "x"} for n in range(3)]
        raw["systems"] = {"one": own, "other": {"answers": jsonl(model.parent / "o.jsonl", rows)}}
    return EvaluationRecipe.parse(raw)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_a_model_that_was_trained_again_are_refused(tmp_path, model, kind, harness):  # noqa: F811
    out, recipe = tmp_path / "out", made(kind, model)
    run_quietly(recipe, out)
    save(model, seed=1)
    run_quietly(recipe, out)  # the same weights, written again
    save(model, seed=2)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (answers,) = (path for path in out.iterdir() if path.name in ("answers-one.jsonl", "documents-one.jsonl"))
    said = rf"{answers}: systems\.one\.model \({model}\) has other files .*; delete this file .*--run"
    with pytest.raises(UserError, match=said):
        run_quietly(recipe, out)
    changed = {name for name, content in before.items() if (out / name).read_bytes() != content}
    assert changed <= {"environment.json"}
    answers.unlink()
    run_quietly(recipe, out)


def test_answers_of_an_earlier_version_have_no_digest_and_are_read(tmp_path, model):
    out, recipe = tmp_path / "out", made("reward", model)
    run_quietly(recipe, out)
    (out / "answers-one.model").unlink()
    save(model, seed=2)
    run_quietly(recipe, out)


def test_the_digest_is_of_what_decides_the_answers(tmp_path, model, monkeypatch):
    known = model_digest(str(model))
    (model / "README.md").write_text("# A card")
    shutil.copytree(model, tmp_path / "run" / "model")
    assert model_digest(str(model)) == model_digest(str(tmp_path / "run")) == known
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config, indent=None))
    assert model_digest(str(model)) != known
    assert model_digest("starter") != model_digest("countdown-tiny")


def test_the_base_of_an_adapter_counts(tmp_path, model):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    first = model_digest(str(adapter))
    (adapter / "adapter_model.safetensors").write_bytes(b"Weights")
    second = model_digest(str(adapter))
    save(model, seed=2)
    assert len({first, second, model_digest(str(adapter))}) == 3


def test_pieces_of_a_large_file_reach_from_its_start_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(answering_model, "PIECE", 4)
    file, size = tmp_path / "weights.safetensors", 8 * 4 + 1
    file.write_bytes(bytes(size))
    (tmp_path / "config.json").write_text("{}")
    known = model_digest(str(tmp_path))
    for place in (0, size // 2, size - 1):
        content = bytearray(size)
        content[place] = 1
        file.write_bytes(content)
        assert model_digest(str(tmp_path)) != known, place
