"""How a verb ends, whatever happens in it."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from boresight.cli import exits
from boresight.cli.main import app
from boresight.cli.usage import VerbGroup
from boresight.core.errors import UserError, memory_error
from boresight.core.interrupt import Interrupted

ROOT = Path(__file__).parents[1]


def raising(error):
    def app(arguments):
        raise error

    return app


ENDS = {
    "a user's mistake": (UserError("r.yaml: no such key."), 2, "boresight: r.yaml: no such key."),
    "a full disk": (
        OSError(errno.ENOSPC, "No space left on device", "run/x"),
        2,
        "run/x: No space left on device",
    ),
    "a full disk under a library in Rust": (
        RuntimeError("I/O error: No space left on device (os error 28)"),
        2,
        "boresight: No space left on device; check the path",
    ),
    "a path that is too long": (OSError(errno.ENAMETOOLONG, "File name too long"), 2, "File name too long"),
    "a full GPU": (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity"),
        2,
        "boresight: out of memory (2.00 GiB were requested); for training set train.activations=recompute, "
        "lower train.tokens_per_forward, or train adapters (model.lora={}); for anything else",
    ),
    "a GPU too full for a library": (
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        2,
        "boresight: out of memory; for training",
    ),
    "a full memory": (MemoryError(), 2, "boresight: out of memory; for training"),
    "a stopped run": (Interrupted("stopped after step 3."), 130, "stopped after step 3."),
    "Ctrl-C anywhere else": (KeyboardInterrupt(), 130, "interrupted."),
    "a pipe that nobody reads": (BrokenPipeError(), 141, ""),
    "a verb that found something": (SystemExit(1), 1, ""),
    "a fault of ours": (ZeroDivisionError("division by zero"), 70, "ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("what", ENDS)
def test_every_end_has_its_code_and_its_sentence(what, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.dup2", lambda new, old: None)  # the pipe of this test has a reader
    error, code, sentence = ENDS[what]
    assert exits.run(raising(error), []) == code
    said = capsys.readouterr().err
    assert sentence in said and len(said.splitlines()) == bool(sentence)


def test_the_allocators_say_how_much_was_requested():
    """Those of torch and of numpy on a CPU, for real."""
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(10**16)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(10**16)
    assert memory_error(of_torch.value) == "out of memory (40000000000000000 bytes were requested)"
    assert memory_error(of_numpy.value) == "out of memory (71.1 PiB were requested)"
    assert memory_error(RuntimeError("CUDA error: an illegal memory access was encountered")) is None
    assert memory_error(ValueError("out of memory")) is None


@pytest.mark.parametrize("path", [["work"], ["data", "work"]])
def test_ctrl_c_within_any_verb_has_its_sentence(capsys, path):
    """Through Typer, which by itself turns a KeyboardInterrupt into an exit code without a word."""
    verbs, data = typer.Typer(cls=VerbGroup), typer.Typer()
    verbs.add_typer(data, name="data")

    @data.command()
    @verbs.command()
    def work():
        raise KeyboardInterrupt

    @data.command()
    def rest(): ...

    assert exits.run(verbs, path) == 130
    assert capsys.readouterr().err == "boresight: interrupted.\n"


def test_ctrl_c_has_its_sentence_in_the_app_itself(capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("boresight.runs.doctor.diagnosis", interrupt)
    assert exits.run(app, ["doctor"]) == 130
    assert capsys.readouterr().err == "boresight: interrupted.\n"


def test_the_traceback_of_our_faults_is_in_the_file_that_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert exits.run(raising(KeyError("lost")), []) == 70
    file = Path(re.search(r"which is in (\S+)\.", capsys.readouterr().err)[1])
    assert file.parent == tmp_path and "raise error" in file.read_text()


def test_no_text_controls_the_terminal(capsys):
    exits.run(raising(UserError("a\x1b[31mb\nc\ud800: gone.")), [])
    assert capsys.readouterr().err == "boresight: a\\x1b[31mb\\nc\\ud800: gone.\n"


def test_the_page_lists_every_code():
    page = (ROOT / "docs" / "exit-codes.md").read_text()
    codes = {exits.DONE, exits.FOUND, exits.BAD_INPUT, exits.INTERNAL}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE)} == codes
    assert f"| {exits.BY_SIGNAL} + n |" in page
