"""A disk that takes no more ends a run with one sentence, and what was written before is whole.

The system refuses for real: files may not grow beyond a limit (RLIMIT_FSIZE).
"""

import contextlib
import errno
import json
import os
import resource
import shutil

import pytest
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.runs import loading
from boresight.runs.train import run_training
from boresight.training.checkpoints import disk_errors
from tests.training.fixtures import ten_demonstrations

QUIET = Console(quiet=True)


@contextlib.contextmanager
def files_end_at(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def recipe(tmp_path):
    train = {"save_every": 2, "keep": 2}
    return Recipe.parse(ten_demonstrations(tmp_path, train=train, evaluate={"samples": 0}))


def train_lines(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if line["split"] == "train"]


def too_small(tmp_path):
    """Bytes that hold the weights and not Adam's two moments of them."""
    return int(1.5 * (tmp_path / "base" / "model.safetensors").stat().st_size)


def test_before_the_first_checkpoint_one_starts_again(tmp_path, recipe):
    with files_end_at(too_small(tmp_path)), pytest.raises(UserError) as failed:
        run_training(recipe, tmp_path / "run", QUIET)
    said = "a file would become larger than this system allows; make room or give another folder with --run, "
    assert (
        str(failed.value)
        == f"{tmp_path / 'run/checkpoints/step-2'}: {said}and start again: there is no checkpoint yet."
    )
    assert list((tmp_path / "run" / "checkpoints").glob("step-*")) == []


def test_a_later_one_leaves_the_checkpoint_and_resuming_is_exact(tmp_path, recipe):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_training(recipe, whole, QUIET)
    shutil.copytree(whole, cut)  # as it was after step 3
    for name in ("model", "checkpoints/step-4"):
        shutil.rmtree(cut / name)
    for name in ("evaluation.json", "end.json", "report.html"):
        (cut / name).unlink()
    with (
        files_end_at(too_small(tmp_path)),
        pytest.raises(UserError, match=r"make room and resume with `boresight train \S+cut`: .*step-2 is"),
    ):
        run_training(recipe, cut, QUIET, resume=True)
    assert [p.name for p in (cut / "checkpoints").iterdir()] == ["step-2"]
    run_training(recipe, cut, QUIET, resume=True)
    assert train_lines(cut) == train_lines(whole)
    for file in whole.glob("model/*.safetensors"):
        assert (cut / "model" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("number", sorted(disk_errors.REASONS))
def test_the_system_s_errors_become_sentences_and_others_pass(tmp_path, number):
    with (
        pytest.raises(UserError, match=f"^/mnt/x: {disk_errors.REASONS[number]}; "),
        disk_errors.explain_disk_errors(tmp_path),
    ):
        raise OSError(number, "told by the system", "/mnt/x")
    with pytest.raises(FileNotFoundError), disk_errors.explain_disk_errors(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "no such file", "/mnt/x")


def test_a_place_that_cannot_be_written_is_told_before_anything_is_computed(tmp_path, recipe, monkeypatch):
    """A file in the path, whoever asks; and a folder that the system says may not be written."""
    monkeypatch.setattr(loading, "load_policy", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(UserError, match=r"rows.jsonl/run: no permission to write to .*rows.jsonl"):
        run_training(recipe, tmp_path / "rows.jsonl/run", QUIET)
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    with pytest.raises(
        UserError, match=f"{tmp_path}/new/run: no permission to write to {tmp_path}; change it"
    ):
        run_training(recipe, tmp_path / "new/run", QUIET)
    assert not (tmp_path / "new").exists()
