"""A run that moves too far from its start ends with the last model that had not, and can go on anyway."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from boresight.cli.main import _after_training
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.interrupt import Interrupted
from boresight.findings.monitor import read_findings
from boresight.models.sampler.generate import generate
from boresight.reports.facts import facts
from boresight.reports.headline import headline
from boresight.reports.read_run import read_run
from boresight.runs import train
from boresight.runs.explain import explain
from boresight.runs.measure import evaluate_run
from boresight.runs.train import run_training
from boresight.training.checkpoints.trained import read_end
from boresight.training.guard import kept
from tests.tiny import tiny_model, tiny_tokenizer

QUIET = Console(quiet=True)
STEPS = 8


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model and pairs, and empty caches."""
    monkeypatch.setattr("boresight.core.files.cache_folder", lambda: tmp_path / "cache")
    tiny_model(max_position_embeddings=1024).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    rows = [{"prompt": f"no {i}?", "chosen": f"yes, {i}", "rejected": f"no {i}"} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def recipe(place, lr=0.05, **train):
    return Recipe.parse(
        {
            "method": {"name": "dpo"},
            "model": {"name": str(place / "model")},
            "data": {"train": str(place / "pairs.jsonl"), "eval_rows": 8, "max_length": 400},
            "optim": {"lr": lr, "schedule": "constant", "warmup": 0.0},
            "train": {"batch": 4, "steps": STEPS, "eval_every": 1, **train},
            "evaluate": {"samples": 2, "max_new_tokens": 4},
        }
    )


def kls(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["kl_per_token"] for line in lines if line["split"] == "eval"}


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


def findings(run):
    return {finding.name: finding for finding in read_findings(run)}


def test_it_ends_with_the_last_model_within_the_bounds(place):
    run = place / "run"
    run_training(recipe(place), run, QUIET)
    measured = kls(run)
    stopped, step = max(measured), read_end(run)["step"]
    assert 0 <= step < stopped < STEPS
    assert measured[step] <= 0.15 < measured[stopped]
    assert step == max(s for s, kl in measured.items() if kl <= 0.15)
    found = findings(run)["guard-stopped"]
    assert found.severity == "error" and found.step == stopped and "train.guard.kl" in found.why
    assert (f"step {step}" if step else "start model") in found.why
    held_out = json.loads((run / "evaluation.json").read_text())["metrics"]
    kl = next(m for m in held_out if m["name"] == "kl_per_token")
    assert kl["after"]["value"] == pytest.approx(measured[step], rel=1e-5)
    assert [p.name for p in (run / "checkpoints").iterdir()] == [f"step-{stopped}"]
    assert explain(run).findings[0].name == "guard-stopped"
    told = dict(facts(read_run(run)))
    assert headline(read_run(run)).asides[0].startswith(f"The guard stopped the run at step {stopped}; the")
    assert told["steps"] == f"{stopped}, stopped; the model is that of step {step}"


@pytest.mark.parametrize(("lr", "which"), [(10.0, "the start model"), (0.05, "the model of step ")])
def test_the_model_that_is_left_is_loaded_without_a_second_header(place, lr, which):
    """Voting on answers is suggested only if the run ends with another model than the start model."""
    run, terminal = place / "run", io.StringIO()
    run_training(recipe(place, lr=lr), run, Console(file=terminal, width=200))
    printed, step = terminal.getvalue(), read_end(run)["step"]
    assert f"measuring {which}{step or ''} …" in printed
    assert printed.count(f"{STEPS} steps of 4") == printed.count("checkpoints: every") == 1
    assert "tokenized already" not in printed.partition("guard-stopped")[2]
    assert any(" arena " in line for line in _after_training(run)) == (step > 0)


def test_the_model_that_is_left_is_measured_again_as_it_was(place):
    run = place / "run"
    run_training(recipe(place), run, QUIET)
    before = (run / "evaluation.json").read_text()
    evaluate_run(run, QUIET)
    assert (run / "evaluation.json").read_text() == before


def test_the_start_model_that_is_left_is_measured_again_as_such(place):
    """Stopped at the first evaluation: step 0 is not "no step". The run can still be continued."""
    run = place / "run"
    run_training(recipe(place, lr=10.0), run, QUIET)
    assert read_end(run)["step"] == 0
    before = {name: (run / name).read_bytes() for name in ("evaluation.json", "probes.jsonl", "end.json")}
    evaluate_run(run, QUIET)
    assert {name: (run / name).read_bytes() for name in before} == before
    run_training(recipe(place, lr=10.0, guard=None), run, QUIET, resume=True)
    assert read_end(run)["step"] == STEPS


def test_answers_that_were_logged_are_not_rewritten(place, monkeypatch):
    """Measured on another device, answers may differ, and a checkpoint holds the hash of their log."""
    run = place / "run"
    run_training(recipe(place), run, QUIET)
    before = (run / "probes.jsonl").read_bytes()
    monkeypatch.setattr("boresight.training.probes.generations.generate", other_answers)
    evaluate_run(run, QUIET)
    assert (run / "probes.jsonl").read_bytes() == before


def other_answers(policy, tokenizer, prompts, params, **more):
    return [
        [replace(sample, text="another") for sample in group]
        for group in generate(policy, tokenizer, prompts, params, **more)
    ]


def test_a_run_that_cannot_be_continued_keeps_its_model(place):
    """The log was edited, which is found before anything is removed."""
    run = place / "run"
    run_training(recipe(place), run, QUIET)
    with (run / "metrics.jsonl").open("r+b") as file:
        file.write(b" ")
    kept = {path.name for path in run.iterdir()}
    with pytest.raises(UserError, match="this log was changed"):
        run_training(recipe(place, guard=None), run, QUIET, resume=True)
    assert {path.name for path in run.iterdir()} == kept and {"model", "end.json", "report.html"} <= kept


def test_a_run_whose_only_checkpoint_is_damaged_does_not_begin_again(place):
    run = place / "run"
    run_training(recipe(place), run, QUIET)
    (stop,) = (run / "checkpoints").iterdir()
    next(stop.rglob("*.safetensors")).write_bytes(b"")
    with pytest.raises(UserError, match="not the checkpoint that was written, and there is no other"):
        run_training(recipe(place, guard=None), run, QUIET, resume=True)
    assert (run / "model").is_dir() and stop.is_dir()


def test_going_on_in_spite_of_it_is_the_run_without_a_guard(place):
    """The command that the finding gives; a run without a guard has the same weights and metrics."""
    stopped, free = place / "stopped", place / "free"
    run_training(recipe(place), stopped, QUIET)
    with pytest.raises(UserError, match="this run is finished"):
        run_training(recipe(place), stopped, QUIET, resume=True)
    run_training(recipe(place, guard=None), stopped, QUIET, resume=True)
    run_training(recipe(place, guard=None), free, QUIET)
    assert weights(stopped) == weights(free) and kls(stopped) == kls(free)
    assert read_end(stopped)["step"] == STEPS and not list((stopped / "checkpoints").iterdir())


@pytest.mark.parametrize("after", ["checkpoint", "numbers", "model"])
def test_a_run_that_dies_while_it_is_stopped_ends_as_it_would_have(place, monkeypatch, after):
    whole, cut = place / "whole", place / "cut"
    run_training(recipe(place), whole, QUIET)
    original, died = kept.end_with, []

    def dying(run, model):
        died.append(run)
        if after == "numbers":
            kept.trained.write_numbers(run, {}, 1)
        if after == "model":
            original(run, model)
        raise KeyboardInterrupt

    monkeypatch.setattr(kept, "end_with", dying)
    with pytest.raises(Interrupted):
        run_training(recipe(place), cut, QUIET)
    assert len(died) == 1
    monkeypatch.setattr(kept, "end_with", original)
    run_training(recipe(place), cut, QUIET, resume=True)
    assert weights(cut) == weights(whole) and kls(cut) == kls(whole)
    assert (cut / "evaluation.json").read_text() == (whole / "evaluation.json").read_text()
    assert len([f for f in read_findings(cut) if f.name == "guard-stopped"]) == 1


def test_a_gentle_run_is_left_alone_and_leaves_nothing(place):
    run = place / "run"
    run_training(recipe(place, lr=1e-5), run, QUIET)
    assert max(kls(run)) == STEPS and "guard-stopped" not in findings(run)
    assert not list((run / "checkpoints").iterdir())


def test_nothing_is_kept_where_nothing_can_be_looked_at(place, monkeypatch):
    """No held-out rows, no prompts: there is no number to compare, and no guard."""
    made = []
    original = train.guard_of

    def recording(task, before):
        made.append(original(task, before))
        return made[-1]

    monkeypatch.setattr(train, "guard_of", recording)
    settings = recipe(place).changed(["data.eval_rows=0", "check.probes=0", "evaluate.samples=0"])
    run_training(settings, place / "run", QUIET)
    assert made == [None]
