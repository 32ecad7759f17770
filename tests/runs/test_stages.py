"""A run is a sequence of stages: what is there is kept, and the same command adds what is missing."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

import boresight
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import read_state, write_state
from boresight.core.interrupt import Interrupted
from boresight.models.kernels.libraries import libraries
from boresight.runs import measure, outcome, train
from boresight.runs.measure import evaluate_run
from boresight.runs.train import run_training
from boresight.training import loop
from boresight.training.choices import Choices, read_choices
from tests.tiny import tiny_model, tiny_tokenizer

QUIET = Console(quiet=True)
STEPS = 4
TIMING = {"seconds", "tokens_per_second", "peak_memory_gb"}
BEGUN = ["config.yaml", "data.json", "choices.json", "environment.json", "findings.jsonl"]
LOGGED = ["metrics.jsonl", "probes.jsonl"]
TRAINED = [*BEGUN, *LOGGED, "start.json", "end.json", "model"]
LEFT = {
    "nothing but the recipe": ["config.yaml"],
    "begun": BEGUN,
    "start measured": [*BEGUN, *LOGGED, "start.json"],
    "trained": TRAINED,
    "trained, numbers lost": [name for name in TRAINED if name != "end.json"],
    "trained, start lost": [name for name in TRAINED if name != "start.json"],
    "answered": [*TRAINED, "samples.jsonl"],
    "evaluated": [*TRAINED, "samples.jsonl", "evaluation.json"],
}
"""What a run that was killed after a stage has in its folder."""
METHODS = [("dpo", {"r": 2, "dropout": 0.3}), ("sft", None), ("reward", None)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    rows = [{"prompt": f"say {i}", "chosen": "green " * (1 + i % 3), "rejected": "red"} for i in range(12)]
    write(folder / "preference.jsonl", rows)
    write(folder / "demonstration.jsonl", [{"prompt": r["prompt"], "completion": r["chosen"]} for r in rows])
    return folder


def write(path: Path, rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe(base: Path, method: str = "sft", lora=None) -> Recipe:
    kind = "demonstration" if method == "sft" else "preference"
    return Recipe.parse(
        {
            "method": {"name": method},
            "model": {"name": str(base), "lora": lora},
            "data": {"train": str(base / f"{kind}.jsonl"), "eval_rows": 2},
            "optim": {"lr": 0.01},
            "train": {"batch": 3, "steps": STEPS},
            "evaluate": {"samples": 2, "max_new_tokens": 3, "kl_rows": 2},
            "check": {"probes": 2},
        }
    )


@pytest.fixture(scope="module")
def finished(base, tmp_path_factory):
    """A run of every method that nothing interrupted."""
    place = tmp_path_factory.mktemp("finished")
    for method, lora in METHODS:
        run_training(recipe(base, method, lora), place / method, QUIET)
    return place


def results(run: Path) -> dict[str, object]:
    """Everything that a run measured and learned, times apart."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().split("\n") if line]
    found: dict[str, object] = {
        "metrics": [{k: v for k, v in line.items() if k not in TIMING} for line in lines],
        "model": {file.name: file.read_bytes() for file in (run / "model").glob("*.safetensors")},
    }
    for name in ("evaluation.json", "end.json", "samples.jsonl", "probes.jsonl"):
        found[name] = (run / name).read_text() if (run / name).is_file() else None
    start = read_state(run / "start.json")
    found["start.json"] = (start["answers"], start["numbers"])
    return found


def left_after(stage: str, run: Path, copy: Path) -> None:
    copy.mkdir()
    for name in LEFT[stage]:
        if (run / name).is_dir():
            shutil.copytree(run / name, copy / name)
        elif (run / name).is_file():
            shutil.copy(run / name, copy / name)


@pytest.mark.parametrize("stage", LEFT)
@pytest.mark.parametrize(("method", "lora"), METHODS, ids=[name for name, _ in METHODS])
def test_the_same_command_goes_on_with_the_first_missing_stage(base, finished, tmp_path, stage, method, lora):
    left_after(stage, finished / method, tmp_path / "run")
    said = io.StringIO()
    run_training(recipe(base, method, lora), tmp_path / "run", Console(file=said, width=500))
    assert results(tmp_path / "run") == results(finished / method)
    assert (tmp_path / "run/report.html").is_file()
    assert "step 1/4" not in said.getvalue() or "model" not in LEFT[stage]
    with pytest.raises(
        UserError, match=r"this run is finished \(`boresight evaluate .*run` measures it again"
    ):
        run_training(recipe(base, method, lora), tmp_path / "run", QUIET)


def test_kept_answers_are_not_generated_again(base, finished, tmp_path, monkeypatch):
    left_after("answered", finished / "sft", tmp_path / "run")
    monkeypatch.setattr(measure, "answer", lambda *_: pytest.fail("answers were there"))
    run_training(recipe(base), tmp_path / "run", QUIET)
    left_after("evaluated", finished / "sft", tmp_path / "again")
    monkeypatch.setattr(train, "load_run", lambda *_: pytest.fail("only the report was missing"))
    monkeypatch.setattr(measure, "load_run", lambda *_: pytest.fail("only the report was missing"))
    run_training(recipe(base), tmp_path / "again", QUIET)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_last_step_leaves_a_trained_run(base, finished, tmp_path, monkeypatch, number):
    step = loop.take_step

    def signalled(task, optimizer, index, rate):
        if index == STEPS - 1:
            os.kill(os.getpid(), number)
        return step(task, optimizer, index, rate)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", signalled)
        with pytest.raises(
            Interrupted, match=r"stopped after the last step; `boresight train \S+run` resumes it"
        ):
            run_training(recipe(base), tmp_path / "run", QUIET)
    assert (tmp_path / "run/model").is_dir() and not (tmp_path / "run/samples.jsonl").exists()
    run_training(recipe(base), tmp_path / "run", QUIET)
    assert results(tmp_path / "run") == results(finished / "sft")


def test_ctrl_c_between_stages_says_how_to_go_on(base, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outcome, "likelihood_of_answers", interrupted)
        with pytest.raises(Interrupted, match=r"^interrupted; `boresight train \S+run` resumes it\.$"):
            run_training(recipe(base), tmp_path / "run", QUIET)
        patch.setattr(train, "find_place", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_training(recipe(base), tmp_path / "other", QUIET)
    run_training(recipe(base), tmp_path / "run", QUIET)


def test_a_finished_run_is_measured_again(base, finished, tmp_path):
    shutil.copytree(finished / "dpo", tmp_path / "run")
    for name in ("samples.jsonl", "evaluation.json", "report.html"):
        (tmp_path / "run" / name).write_text("{}")
    run = boresight.evaluate(tmp_path / "run", quiet=True)
    assert results(tmp_path / "run") == results(finished / "dpo")
    assert run.metrics and (tmp_path / "run/report.html").stat().st_size > 1000
    with pytest.raises(UserError, match="a run is measured by its own recipe; leave the other arguments out"):
        boresight.evaluate(tmp_path / "run", run=tmp_path / "other")


def test_a_folder_with_nothing_but_recipe_and_model_is_measured(base, finished, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(finished / "sft/config.yaml", tmp_path / "run")
    shutil.copytree(finished / "sft/model", tmp_path / "run/model")
    evaluate_run(tmp_path / "run", QUIET)
    for name in ("evaluation.json", "samples.jsonl"):
        assert (tmp_path / "run" / name).read_text() == (finished / "sft" / name).read_text()


def changed_model(run: Path) -> None:
    file = run / "model/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")


def changed_data(run: Path) -> None:
    facts = read_state(run / "data.json")
    facts["train"]["sha256"] = "other"
    write_state(run / "data.json", facts)


def changed_prompts(run: Path) -> None:
    facts = read_state(run / "data.json")
    facts["prompts"]["sha256"] = "other"
    write_state(run / "data.json", facts)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            lambda run: shutil.rmtree(run / "model"),
            "no trained model yet; `boresight train .* resumes the run",
        ),
        (lambda run: (run / "config.yaml").unlink(), "not the folder of a training run"),
        (
            changed_model,
            "model.safetensors: not the file that training wrote",
        ),
        (changed_data, "the data differs in train.sha256"),
        (changed_prompts, "the data differs in prompts.sha256"),
    ],
    ids=["no model", "no recipe", "changed model", "changed data", "changed prompts"],
)
def test_what_cannot_be_measured_is_refused_and_stays_as_it_is(finished, tmp_path, fault, sentence):
    shutil.copytree(finished / "sft", tmp_path / "run")
    fault(tmp_path / "run")
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "run").rglob("*") if f.is_file()}
    with pytest.raises(UserError, match=sentence):
        evaluate_run(tmp_path / "run", QUIET)
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "run").rglob("*") if f.is_file()} == before


def test_damaged_checkpoints_are_named_and_kept(base, tmp_path, monkeypatch):
    step = loop.take_step

    def halting(task, optimizer, index, rate):
        if index == 3:
            raise RuntimeError("killed")
        return step(task, optimizer, index, rate)

    saving = Recipe.parse({**recipe(base).to_dict(), "train": {"batch": 3, "steps": 4, "save_every": 2}})
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(loop, "take_step", halting)
        run_training(saving, tmp_path / "run", QUIET)
    state = tmp_path / "run/checkpoints/step-2/state.safetensors"
    state.write_bytes(state.read_bytes()[:-1] + b"\xff")
    with pytest.raises(UserError, match=r"step-2: not the checkpoint that was written, and there"):
        run_training(saving, tmp_path / "run", QUIET)
    assert state.is_file()


def test_what_the_recipe_leaves_open_is_kept_with_the_run(base, finished, tmp_path):
    expected = Choices(
        device="cpu",
        processes=1,
        sharded=False,
        recompute=False,
        eval_every=1,
        dtype="float32",
        libraries=asdict(libraries()),
    )
    assert read_choices(finished / "sft/choices.json") == expected
    left_after("start measured", finished / "sft", tmp_path / "run")
    Choices("cuda:0", 1, False, True, 3).write(tmp_path / "run/choices.json")
    said = io.StringIO()
    run_training(recipe(base), tmp_path / "run", Console(file=said, width=500))
    assert "unlike before: device was cuda:0 and is cpu\n" in said.getvalue()
    assert "Activations are recomputed in the backward pass (as before)" in said.getvalue()
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().split("\n") if x]
    assert [x["step"] for x in lines if x["split"] == "eval"] == [0, 3, 4]


def test_no_message_advises_to_delete_trained_weights():
    source = Path(boresight.__file__).parent
    advice = re.compile(r"(delete|remove)\W+(the|this|that|its)\W+(\w+\W+)?folder", re.IGNORECASE)
    strings = {file: " ".join(file.read_text().split()) for file in source.rglob("*.py")}
    assert [str(file) for file, text in strings.items() if advice.search(text)] == []
