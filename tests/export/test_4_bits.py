"""A base in 4 bits: the adapter is exported on the unquantized base, and each command involved prints it."""

from __future__ import annotations

import io
import json
import shutil

import pytest
import torch
from rich.console import Console

from boresight.cli import main
from boresight.config.recipe import Recipe
from boresight.core.schema import Prompt
from boresight.evaluation.recipe import GenerateSection
from boresight.evaluation.systems import generate_answers
from boresight.export.command import export
from boresight.export.weights import outputs
from boresight.models.kernels import compact
from boresight.models.load import load_model
from boresight.models.source import note_on_base
from boresight.reports.page import write_report
from boresight.reports.read_run import IN_4_BITS, read_run
from boresight.runs.train import run_training
from tests.export.test_export import LORA, ROWS, plain
from tests.models import nf4
from tests.tiny import tiny_model, tiny_tokenizer

NOTE = "base in 4 bits (NF4)"
UNMEASURED = "was not measured"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("four-bits")
    tiny_model(hidden_size=64, intermediate_size=128).save_pretrained(folder / "base")
    tiny_tokenizer().save_pretrained(folder / "base")
    pairs = [{"prompt": f"say {i}", "chosen": f"green {i}", "rejected": "red"} for i in range(12)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return folder


def train(home, name, model, **lora):
    """A run of two steps; what it printed."""
    raw = {
        "method": {"name": "dpo"},
        "model": {"name": str(model), "lora": LORA | lora, "device": "cpu"},
        "data": {"train": str(home / "pairs.jsonl")},
        "optim": {"lr": 0.02},
        "train": {"batch": 4, "steps": 2},
        "evaluate": {"samples": 2, "max_new_tokens": 4},
    }
    printed = io.StringIO()
    run_training(Recipe.parse(raw), home / name, Console(file=printed, width=2000))
    return printed.getvalue()


@pytest.fixture(scope="module")
def run(home):
    patch = pytest.MonkeyPatch()
    patch.setattr(compact, "_functions", lambda: nf4)
    printed = train(home, "run", home / "base", base="nf4")
    patch.undo()
    assert "unquantized" not in printed, "the run itself is on the 4-bit base"
    return home / "run"


def exported(run, to, form):
    """What an export prints, and its card."""
    printed = io.StringIO()
    export(run, to, form, "float32", Console(file=printed, width=2000))
    return printed.getvalue(), (to / "README.md").read_text()


def test_merged_weights_are_the_adapter_on_the_unquantized_base_and_say_so(run, home, tmp_path):
    printed, card = exported(run, tmp_path / "out", "merged")
    for text in (printed, card):
        assert NOTE in text and "weights belong to the unquantized base" in text and UNMEASURED in text
        assert (
            "KL from the run's adapter on the unquantized base" in text
            and "KL from the run's model" not in text
        )
    assert str(home) not in card
    expected = outputs(load_model(str(run), merge=False), ROWS)
    for ours, theirs in zip(expected, outputs(plain(tmp_path / "out"), ROWS), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


def test_the_adapter_alone_says_so_too(run, tmp_path):
    printed, card = exported(run, tmp_path / "out", "adapter")
    for text in (printed, card):
        assert NOTE in text and "adapter belongs to the unquantized base" in text and UNMEASURED in text


def test_the_report_says_what_its_numbers_are_of(run):
    assert IN_4_BITS in read_run(run).notes
    page = write_report(run).read_text()
    assert "Every number here is of a base in 4 bits" in page and "in every number here" in page


def test_a_system_by_its_path_is_evaluated_on_the_unquantized_base(run):
    printed = io.StringIO()
    prompts = [Prompt([{"role": "user", "content": "say 1"}], "row-1", {})]
    settings = GenerateSection(max_new_tokens=2)
    generate_answers("trained", str(run), prompts, settings, Console(file=printed, width=2000))
    assert NOTE in printed.getvalue() and UNMEASURED in printed.getvalue()


def test_the_command_for_vllm_stays_a_command(run, capsys):
    with pytest.raises(SystemExit):
        main.main(["serve", str(run)])
    found = capsys.readouterr()
    assert found.out.startswith("vllm serve ") and found.out.count("\n") == 1
    assert NOTE in found.err and "unquantized" in found.err


def test_a_run_that_starts_from_it_says_so_and_so_does_one_above(run, home):
    """Its own base is not quantized; the adapter below it was trained on one that was."""
    assert NOTE in train(home, "second", run)
    assert str(run) in note_on_base(str(home / "second")), "below the second run's adapter"


def test_other_models_need_no_note(run, home, tmp_path, trained):
    for name in ("starter", "org/model", str(home / "base"), str(trained("dpo", LORA)), str(trained("dpo"))):
        assert note_on_base(name) is None, name
    assert read_run(trained("dpo", LORA)).notes == []
    shutil.copytree(run / "model", tmp_path / "model")
    own = json.loads((tmp_path / "model/adapter_config.json").read_text())
    own["base_model_name_or_path"] = str(tmp_path / "model")
    (tmp_path / "model/adapter_config.json").write_text(json.dumps(own))
    assert note_on_base(str(tmp_path / "model")) is None, "an adapter that is its own base ends the search"
