"""Command lines that are wrong: one sentence on stderr and exit code 2, before a model is loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer

from boresight.cli import exits, main
from boresight.cli.usage import VerbGroup, in_paragraphs
from tests.versions import is_older

NOT_AS_OPTION = "settings are written without dashes, as in"


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """The sentence with which a command line ends with code 2."""
    monkeypatch.chdir(tmp_path)

    def sentence(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert exits.run(main.app, arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith("boresight: ") and said.count("\n") == 1, said
        assert sorted(tmp_path.rglob("*")) == before, "nothing is written"
        return said.removeprefix("boresight: ").rstrip()

    return sentence


USAGE = {
    "train": "RECIPE|RUN is missing; see `boresight train --help`.",
    "export runs/x": "--to is missing; see `boresight export --help`.",
    "check r.yaml --rows 0": "--rows: 0 is not at least 1; see `boresight check --help`.",
    "check r.yaml --rows many": "--rows: 'many' is not a whole number; see `boresight check --help`.",
    "chat runs/x --temperature -1": "--temperature: -1 is not at least 0; see `boresight chat --help`.",
    "chat runs/x --temperature hot": "--temperature: 'hot' is not a number; see `boresight chat --help`.",
    "data show x --score l": "--score: 'l' is not one of 'all', 'last'; see `boresight data show --help`.",
    "train r.yaml --run": "--run: requires an argument; see `boresight train --help`.",
    "doctor --json=3": "--json: does not take a value; see `boresight doctor --help`.",
    "train r.yaml --rum x": "--rum: `boresight train` has no such option; did you mean '--run'?",
    "data --foo": "--foo: `boresight data` has no such option; see `boresight data --help`.",
    "trian r.yaml": "trian: there is no such verb; did you mean 'train'?",
    "data chek x": "chek: there is no such verb; did you mean 'check'?",
    "data": "a verb is missing; `boresight data --help` lists them.",
    "": "a verb is missing; `boresight --help` lists them.",
    "data check x data.columns={a:b}": "data.columns: `boresight data check` takes this as an option: "
    "--columns '{a:b}'.",
    "data show x data.layout=plain_pairs": "data.layout: `boresight data show` takes this as an option: "
    "--layout plain_pairs.",
    "arena a b c": "arena: got unexpected extra argument(s) (c); see `boresight arena --help`.",
}
WORDS_OF_TYPER = ("check r.yaml --rows", "chat runs/x --temperature", "arena a b c")
"""Command lines for which typer before 0.29, as click, says "not in the range" and the like."""


@pytest.mark.parametrize("line", USAGE)
def test_a_usage_error_is_one_sentence(refused, line):
    said = refused(*line.split())
    if not (is_older("typer", "0.29") and line.startswith(WORDS_OF_TYPER)):
        assert said == USAGE[line]


SETTINGS = {
    "train r --lr 1e-4": "--lr: {} optim.lr=1e-4.",
    "check r --lr=1e-4": "--lr: {} optim.lr=1e-4.",
    "train r --beta 0.1": "--beta: {} method.beta=0.1.",
    "train r --max-length 9": "--max-length: {} data.max_length=9.",
    "train r --optim-lr 1": "--optim-lr: {} optim.lr=1.",
    "train r --model starter": "--model: {} model.name=starter.",
    "sweep r --method dpo": "--method: {} method.name=dpo.",
    "evaluate r --limit": "--limit: {} limit=….",
    "train r --data.train x.jsonl": "--data.train: {} data.train=x.jsonl.",
    "train r --optim.lr=1": "--optim.lr: {} optim.lr=1.",
}


@pytest.mark.parametrize("line", SETTINGS)
def test_a_setting_with_dashes_is_shown_without(refused, line):
    assert refused(*line.split()) == SETTINGS[line].format(NOT_AS_OPTION)


def test_a_verb_without_settings_has_options_alone(refused):
    assert "has no such option" in refused("data", "show", "x.jsonl", "--lr", "1")
    assert "has no such option" in refused("explain", "runs/x", "--data.train", "x")


UNUSED = {
    "serve x --device cpu --max-new-tokens 5": "--max-new-tokens, --device: for --here alone",
    "chat x --seed 5": "--seed: decoding at temperature 0 is greedy; add --temperature 1",
    "export x --to y --dry-run": "--dry-run and --no-dry-run are for --push",
    "export x --to y --no-dry-run": "--dry-run and --no-dry-run are for --push",
    "explain length-leak --beta 0.1": "--beta is for the log of a TRL run on pairs; leave it out.",
    "study --list --minutes 5 --report-only": "--list prints the plan and runs nothing; leave out --report",
    "study --list --run x": "--list prints the plan and runs nothing; leave out --run.",
    "study --list --rehearse": "--list prints the plan and runs nothing; leave out --rehearse.",
    "study --plan p.yaml --scale cpu": "leave out --scale.",
    "study --rehearse --minutes 5": "--rehearse takes two steps of every arm; leave out --minutes.",
}


@pytest.mark.parametrize("line", UNUSED)
def test_an_option_that_cannot_act_is_refused(capsys, tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    assert exits.run(main.app, line.split()) == 2
    assert UNUSED[line] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


EARLY = {
    "chat empty": "RUN: the folder 'empty' holds neither config.json nor adapter_config.json; give",
    "chat empty --device gpu": "--device: 'gpu' is not a device; use cpu, cuda, cuda:N or mps.",
    "serve empty": "empty: there is no model; give a finished run",
    "serve empty --here": "RUN: the folder 'empty' holds neither",
    "serve empty --here --device cuda:x": "--device: 'cuda:x' is not a device",
    "init x.jsonl --model ./nothere": "--model: there is no folder './nothere'",
    "init x.jsonl --model empty": "--model: the folder 'empty' holds neither",
    "data show x.jsonl --model empty": "--model: the folder 'empty' holds neither",
}


def test_names_of_models_and_devices_are_refused_without_torch(tmp_path):
    """In a process of its own, since torch stays imported."""
    (tmp_path / "empty").mkdir()
    code = (
        "import json, sys\n"
        "from boresight.cli import exits, main\n"
        "codes = [exits.run(main.app, line.split()) for line in json.loads(sys.argv[1])]\n"
        "sys.exit(codes != [2] * len(codes) or 'torch' in sys.modules)"
    )
    line = [sys.executable, "-c", code, json.dumps(list(EARLY))]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert len(said) == len(EARLY)
    for sentence, words in zip(said, EARLY.values(), strict=True):
        assert words in sentence


def test_report_reads_every_folder_before_it_writes(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "a"
    run.mkdir()
    (run / "config.yaml").write_text("method: {name: dpo}\n")
    (run / "metrics.jsonl").write_text('{"step": 1, "split": "train", "loss": 0.69}\n')
    assert exits.run(main.app, ["report", "a", "nothere"]) == 2
    assert "nothere" in capsys.readouterr().err
    assert not (run / "report.html").exists()
    assert exits.run(main.app, ["report", "a"]) == 0  # the folder is one that can be written
    assert (run / "report.html").exists()


def test_each_paragraph_of_a_help_text_is_one_line(capsys):
    assert in_paragraphs("One.\n\n    Two is\n    long.\n    ") == "One.\n\nTwo is long."
    verbs = typer.Typer(cls=VerbGroup, rich_markup_mode=None)

    @verbs.command()
    def first():
        """Do it.

        A second paragraph
        of two lines.
        """

    @verbs.command()
    def second(): ...

    assert exits.run(verbs, ["first", "--help"]) == 0
    assert "A second paragraph of two lines." in capsys.readouterr().out
