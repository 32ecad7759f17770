"""Resuming is a theorem: 2k steps equal k steps, an interruption and a resumption, to the bit."""

import json
import os
import signal

import pytest
import torch
import yaml
from rich.console import Console

from boresight import config
from boresight.errors import UserError
from boresight.train import checkpoint
from boresight.train.interrupt import Interrupted, listening
from boresight.train.loop import train
from boresight.train.run import run
from tests.tiny import tiny_model, tiny_tokenizer
from tests.train.fixtures import make_task
from tests.train.test_loop import LM_METHODS


def test_a_run_cut_after_its_last_checkpoint_logs_its_last_evaluation_once(tmp_path):
    """It had been evaluated and saved; what is left is the model folder and the report."""
    settings = ("train.batch=3", "train.steps=4", "train.save_every=2", "train.eval_every=2")
    task = make_task(tmp_path, "dpo", *settings)
    train(task)
    before = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    again = make_task(tmp_path, "dpo", *settings)
    found = train(again, tmp_path / "checkpoints" / "step-4")
    after = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert after == before and found["margin"]


class Halt(Exception):
    """Stands in for a kill: nothing after it runs."""


def halt_at(task, step):
    """Make the task die when it asks for the rows of `step`."""
    batches = task.batches

    class Dying:
        steps = batches.steps

        def batch(self, number):
            if number == step:
                raise Halt
            return batches.batch(number)

    task.batches = Dying()
    return task


def weights(task):
    return {name: p.detach().clone() for name, p in task.policy.named_parameters()}


def train_lines(run):
    """What was logged of training, apart from how long it took."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timing = {"seconds", "tokens_per_second", "peak_memory_gb"}
    return [{k: v for k, v in line.items() if k not in timing} for line in lines if line["split"] == "train"]


@pytest.mark.parametrize("method", LM_METHODS)
def test_interrupted_and_resumed_is_uninterrupted(tmp_path, method):
    """Seven rows, batches of three, five steps: an epoch ends inside a batch, before and after the kill."""
    settings = ("train.batch=3", "train.steps=5", "train.save_every=2")
    whole = make_task(tmp_path / "whole", method, *settings, rows=7)
    train(whole)
    killed = halt_at(make_task(tmp_path / "cut", method, *settings, rows=7), step=3)
    with pytest.raises(Halt):
        train(killed)
    resumed = make_task(tmp_path / "cut2", method, *settings, rows=7)
    found = checkpoint.latest_sound(tmp_path / "cut")
    assert found.name == "step-2"
    train(resumed, found)
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name
    assert train_lines(tmp_path / "cut2") == train_lines(tmp_path / "whole")[2:]


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    task = make_task(tmp_path, "sft", "train.batch=3", "train.steps=4", "train.save_every=1", "train.keep=3")
    train(task)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-2", "step-3", "step-4"]
    state = tmp_path / "checkpoints/step-4/state.safetensors"
    state.write_bytes(state.read_bytes()[:-1] + b"\xff")
    assert checkpoint.latest_sound(tmp_path).name == "step-3"
    (tmp_path / "checkpoints/step-3/state.json").write_text("{")
    assert checkpoint.latest_sound(tmp_path).name == "step-2"


def test_a_signal_saves_and_stops_after_the_step(tmp_path):
    task = make_task(tmp_path, "sft", "train.batch=3", "train.steps=4")
    ask = task.batches.batch

    class Signalled:
        steps = 4

        def batch(self, number):
            if number == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return ask(number)

    task.batches = Signalled()
    with pytest.raises(Interrupted, match="stopped after step 2 of 4; go on with --resume"):
        train(task)
    assert checkpoint.latest_sound(tmp_path).name == "step-2"


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with listening():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture
def recipe(tmp_path):
    tiny_model().save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    rows = [{"prompt": f"say {i}", "completion": "the answer " * (1 + i % 3)} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    raw = {
        "method": {"name": "sft"},
        "model": {"name": str(tmp_path / "base"), "lora": {"r": 2, "dropout": 0.3}},
        "data": {"train": str(tmp_path / "rows.jsonl")},
        "optim": {"lr": 0.01},
        "train": {"batch": 4, "steps": 4, "save_every": 1},
        "evaluate": {"samples": 2, "max_new_tokens": 3},
    }
    return yaml.safe_dump(raw)


def parsed(text, **optim):
    raw = yaml.safe_load(text)
    raw["optim"] |= optim
    return config.parse(raw)


def test_a_run_folder_resumes_to_the_same_evaluation_with_dropout(tmp_path, recipe, monkeypatch):
    """Dropout draws from the random state, so equality shows that the state was saved and restored."""
    quiet = Console(quiet=True)
    run(parsed(recipe), tmp_path / "whole", quiet)
    from boresight.train import loop

    step = loop._step
    with monkeypatch.context() as patch:
        patch.setattr(
            loop, "_step", lambda task, o, n, r: step(task, o, n, r) if n < 3 else (_ for _ in ()).throw(Halt)
        )
        with pytest.raises(Halt):
            run(parsed(recipe), tmp_path / "cut", quiet)
    with pytest.raises(UserError, match="cannot resume, the recipe differs in optim.lr"):
        run(parsed(recipe, lr=0.02), tmp_path / "cut", quiet, resume=True)
    run(parsed(recipe), tmp_path / "cut", quiet, resume=True)
    assert train_lines(tmp_path / "cut") == train_lines(tmp_path / "whole")
    for name in ("evaluation.json", "samples.jsonl"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()
    with pytest.raises(UserError, match="this run is finished"):
        run(parsed(recipe), tmp_path / "cut", quiet, resume=True)
    with pytest.raises(UserError, match="there is no run to resume"):
        run(parsed(recipe), tmp_path / "nowhere", quiet, resume=True)
