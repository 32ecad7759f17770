"""A device without enough memory ends a run with one sentence, and the command in it resumes the run."""

import json
import shlex

import pytest
import torch
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.runs import loading
from boresight.runs.train import run_training
from boresight.training import loop
from tests.training.fixtures import ten_demonstrations

QUIET = Console(quiet=True)
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of")


@pytest.fixture
def recipe(tmp_path):
    train = {"save_every": 2, "keep": 2}
    return Recipe.parse(
        ten_demonstrations(tmp_path, model={"device": "cpu"}, train=train, evaluate={"samples": 0})
    )


def full_at(monkeypatch, module, name, call):
    """The function finds no memory at its call of this number, from 1, and at all after it."""
    own, calls = getattr(module, name), []

    def function(*given, **named):
        calls.append(name)
        if len(calls) >= call:
            raise FULL
        return own(*given, **named)

    monkeypatch.setattr(module, name, function)


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["split"] == "train"]


def test_the_command_in_the_sentence_resumes_the_run(tmp_path, recipe):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_training(recipe, whole, QUIET)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as failed:
        full_at(patch, loop, "take_step", 4)
        run_training(recipe, cut, QUIET)
    settings = "train.activations=recompute and train.tokens_per_forward=512"
    command = f"boresight train {cut} {settings.replace(' and', '')}"
    assert str(failed.value) == (
        f"{cut}: out of memory (2.00 GiB were requested); set {settings}, as in `{command}`, which resumes "
        f"the run ({cut / 'checkpoints/step-2'} is complete), or train adapters in a new run "
        "(model.lora={})."
    )
    again = recipe.changed(shlex.split(command)[3:])
    run_training(again, cut, QUIET, resume=True)
    assert losses(cut) == pytest.approx(losses(whole), abs=1e-5)


def test_before_the_first_checkpoint_there_is_none_to_resume_from(tmp_path, recipe, monkeypatch):
    settings = [
        "train.activations=recompute",
        "train.tokens_per_forward=9",
        "model.lora={r: 2, targets: [q_proj]}",
    ]
    small = recipe.changed(settings)
    full_at(monkeypatch, loop, "take_step", 1)
    with pytest.raises(UserError, match=r"; set train.tokens_per_forward=4, as in ") as failed:
        run_training(small, tmp_path / "run", QUIET)
    assert str(failed.value).endswith("resumes the run (there is no checkpoint yet).")
    with pytest.raises(UserError, match=r"were requested\); take a smaller model, or a device with more"):
        run_training(small.changed(["train.tokens_per_forward=1"]), tmp_path / "run", QUIET)


def test_a_model_that_does_not_fit_leaves_no_folder(tmp_path, recipe, monkeypatch):
    full_at(monkeypatch, loading, "load_policy", 1)
    with pytest.raises(UserError) as failed:
        run_training(recipe, tmp_path / "run", QUIET)
    assert str(failed.value) == (
        f"{tmp_path / 'run'}: out of memory (2.00 GiB were requested); set train.activations=recompute and "
        "train.tokens_per_forward=512, or train adapters in a new run (model.lora={})."
    )
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_other_settings_may_not_differ_when_a_run_is_resumed(tmp_path, recipe, monkeypatch):
    full_at(monkeypatch, loop, "take_step", 4)
    with pytest.raises(UserError, match="out of memory"):
        run_training(recipe, tmp_path / "run", QUIET)
    with pytest.raises(UserError, match=r"the recipe differs in train.batch \(4 there, 2 here\)"):
        run_training(recipe.changed(["train.batch=2"]), tmp_path / "run", QUIET)
