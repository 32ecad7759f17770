"""A file that a resumed run reads and that was torn, edited or deleted: one sentence, or the same result.

The same result where the file can be made again from others. Never a traceback, and never another result.
"""

from __future__ import annotations

import json
import shutil

import pytest
from rich.console import Console
from typer.testing import CliRunner

from boresight.cli.main import app
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import write_json
from boresight.runs import train
from boresight.runs.train import run_training
from boresight.training import loop
from boresight.training.checkpoints.checkpoint import stopped_by_guard
from tests.training.killed import assert_same_run, lines, make_base, names, small_recipe

QUIET = Console(quiet=True)


class Halt(Exception):
    """Stands in for a kill."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run that ended and one that was cut short after step 4, with checkpoints of steps 3 and 4."""
    home = tmp_path_factory.mktemp("runs")
    recipe = small_recipe(make_base(home / "base"), "dpo", None, save_every=1, keep=2)
    recipe["check"]["probes"] = 1
    run_training(Recipe.parse(recipe), home / "whole", QUIET)
    step = loop.take_step

    def dying(task, optimizer, number, rate):
        if number == 4:
            raise Halt
        return step(task, optimizer, number, rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "take_step", dying)
        with pytest.raises(Halt):
            run_training(Recipe.parse(recipe), home / "cut", QUIET)
    return home, Recipe.parse(recipe)


STATE = (
    "config.yaml",
    "data.json",
    "start.json",
    "choices.json",
    "metrics.jsonl",
    "probes.jsonl",
    "findings.jsonl",
    "checkpoints/step-4/state.json",
    "checkpoints/step-4/state.safetensors",
    "checkpoints/step-4/model/model.safetensors",
    "checkpoints/step-4/model/config.json",
)


def torn(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file):
    file.write_bytes(b"")


def edited(file):
    """The first digit becomes another one, or the first letter."""
    content = bytearray(file.read_bytes())
    place = next(place for place, byte in enumerate(content) if chr(byte).isdigit() and byte != ord("9"))
    content[place] += 1
    file.write_bytes(content)


def deleted(file):
    file.unlink()


@pytest.mark.parametrize("damage", [torn, emptied, edited, deleted])
@pytest.mark.parametrize("name", STATE)
def test_a_damaged_file_is_a_sentence_or_changes_nothing(tmp_path, runs, name, damage):
    home, recipe = runs
    cut = tmp_path / "cut"
    shutil.copytree(home / "cut", cut)
    damage(cut / name)
    before = {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()}
    try:
        run_training(recipe, cut, QUIET)
    except UserError as error:
        assert str(error).startswith(str(cut)) and "\n" not in str(error)
        assert {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()} == before
        return
    assert name.startswith("checkpoints") or name in REPLACEABLE
    assert_same_run(home / "whole", cut)


OTHER = {
    "data.json": {"train": 5, "eval": {}},
    "start.json": {"numbers": {}},
    "choices.json": {"device": "cpu", "processes": 1},
}
"""Objects without a checksum, as of an earlier version, in which something is missing."""


@pytest.mark.parametrize("name", OTHER)
def test_a_file_that_lacks_something_is_named(tmp_path, runs, name):
    home, recipe = runs
    shutil.copytree(home / "cut", tmp_path / "cut")
    (tmp_path / "cut" / name).write_text(json.dumps(OTHER[name]))
    with pytest.raises(UserError, match=rf"cut/{name}: this file (lacks settings|is torn or was edited); "):
        run_training(recipe, tmp_path / "cut", QUIET)


def test_what_only_newer_versions_know_and_a_renamed_checkpoint_change_nothing(tmp_path, runs, capsys):
    home, recipe = runs
    cut = tmp_path / "cut"
    shutil.copytree(home / "cut", cut)
    (cut / "checkpoints/step-4").rename(cut / "checkpoints/step-5")
    choices = json.loads((cut / "choices.json").read_text())
    write_json(cut / "choices.json", {**{k: v for k, v in choices.items() if k != "checksum"}, "newer": 1})
    run_training(recipe, cut, Console(width=500))
    assert "checkpoints/step-5 is damaged" in capsys.readouterr().out
    assert_same_run(home / "whole", cut)


def test_without_a_guard_a_damaged_checkpoint_is_no_obstacle(tmp_path):
    torn_state = tmp_path / "run" / "checkpoints" / "step-2" / "state.json"
    torn_state.parent.mkdir(parents=True)
    torn_state.write_text('{"stopped_by_guard": tr')
    assert not stopped_by_guard(tmp_path / "run")


REPLACEABLE = {"start.json", "choices.json"}
"""Files that are made again where they are missing: the start model is measured again."""


def test_a_damaged_checkpoint_is_named_when_the_run_goes_on_from_an_older_one(tmp_path, runs, capsys):
    home, recipe = runs
    shutil.copytree(home / "cut", tmp_path / "cut")
    torn(tmp_path / "cut/checkpoints/step-4/model/model.safetensors")
    run_training(recipe, tmp_path / "cut", Console(width=500))
    assert "checkpoints/step-4 is damaged" in capsys.readouterr().out
    assert_same_run(home / "whole", tmp_path / "cut")


def test_a_folder_of_an_earlier_version_resumes(tmp_path, runs):
    """It has no checksums, no sizes of logs, and hashes of tensors alone."""
    home, recipe = runs
    cut = tmp_path / "cut"
    shutil.copytree(home / "cut", cut)
    for file in cut.rglob("*.json"):
        if file.parent.name != "model":
            found = json.loads(file.read_text())
            found.pop("checksum", None)
            found.pop("logs", None)
            if "sha256" in found:
                found["sha256"] = {k: v for k, v in found["sha256"].items() if k.endswith(".safetensors")}
            write_json(file, found)
    run_training(recipe, cut, QUIET)
    assert lines(cut) == lines(home / "whole")
    for name in ("evaluation.json", "samples.jsonl", "model/model.safetensors"):
        assert (cut / name).read_bytes() == (home / "whole" / name).read_bytes()


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
@pytest.mark.parametrize("when", ["a step", "the last save", "the last answers", "the report"])
def test_a_run_whose_folder_is_deleted_stops(tmp_path, runs, monkeypatch, when, replaced):
    """By a command of a user, or with a new run of the same name in its place, which is left alone."""
    home, recipe = runs
    run = tmp_path / "run"

    def deleting(inner, due=lambda *args: True):
        def outer(*args, **options):
            if due(*args):
                shutil.rmtree(run)
                if replaced:
                    shutil.copytree(home / "cut", run)
            return inner(*args, **options)

        return outer

    if when == "a step":
        monkeypatch.setattr(loop, "take_step", deleting(loop.take_step, lambda *args: args[2] == 3))
    elif when == "the last save":
        monkeypatch.setattr(loop, "save_policy", deleting(loop.save_policy))
    elif when == "the last answers":
        due = lambda task, *_: task.moved  # noqa: E731
        monkeypatch.setattr(train, "answer", deleting(train.answer, due))
    else:
        monkeypatch.setattr(train, "write_run_report", deleting(train.write_run_report))
    with pytest.raises(UserError, match=r"deleted or (replaced|moved) during the run, so it stops"):
        run_training(recipe, run, QUIET)
    left = names(run) if run.exists() else []
    assert left == (names(home / "cut") if replaced and when != "the last save" else left)
    assert replaced or not left


def test_the_command_line_ends_with_2(tmp_path, runs):
    home, recipe = runs
    shutil.copytree(home / "cut", tmp_path / "cut")
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    edited(tmp_path / "cut/data.json")
    found = CliRunner().invoke(app, ["train", str(tmp_path / "recipe.yaml"), "--run", str(tmp_path / "cut")])
    assert isinstance(found.exception, UserError)
    assert "data.json: this file is torn or was edited; restore it" in str(found.exception)
