"""In a notebook: verbs run beside its event loop, output is text, and an error is its sentence.

IPython is not needed: rich looks for `get_ipython`, and a kernel runs cells inside a loop, as is done here.
"""

from __future__ import annotations

import asyncio
import builtins
import io
import json
import shutil
import subprocess
import sys

import pytest

import boresight
from boresight.core.console import NOTEBOOK_WIDTH, Terminal, progress
from boresight.core.errors import UserError
from boresight.core.interrupt import Interrupted
from boresight.core.plugins import import_user_module
from boresight.data.reading.load import read
from tests.llm.fake_server import FakeServer
from tests.runs.test_evaluate_endpoint import answer_or_judge
from tests.runs.test_evaluate_endpoint import recipe as evaluation
from tests.synthesis.conftest import planted_key  # noqa: F401
from tests.synthesis.test_synth_run import answer_and_judge, write_prompts
from tests.synthesis.test_synth_run import raw as synthesis
from tests.tiny import tiny_model, tiny_tokenizer


class ZMQInteractiveShell:
    """What a kernel's shell is called."""


@pytest.fixture
def notebook(monkeypatch):
    """Make rich believe that it is in a notebook."""
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)


def in_a_cell(call):
    """What a function returns where an event loop runs already."""

    async def cell():
        return call()

    return asyncio.run(cell())


def shown(value):
    """What a cell shows as text. The class of a value must not have its own, as a dataclass has a `repr`."""
    return value._repr_mimebundle_(include=None, exclude=None)["text/plain"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [{"prompt": f"say {i}", "chosen": f"answer {i}", "rejected": f"red {i}"} for i in range(12)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "method": {"name": "dpo"},
        "model": {"name": str(folder / "model"), "device": "cpu"},
        "data": {"train": str(folder / "pairs.jsonl")},
        "optim": {"lr": 1e-3},
        "train": {"batch": 4},
        "evaluate": {"samples": 2, "max_new_tokens": 4},
    }


class Kernel(io.StringIO):
    """The output of a cell, which claims to be a terminal."""

    def isatty(self):
        return True


def test_lines_are_text_with_colors_and_no_cursor_is_moved(notebook, monkeypatch):
    monkeypatch.setattr("rich.jupyter.display", lambda *_: pytest.fail("a block of HTML"))
    monkeypatch.setattr(sys, "stdout", Kernel())
    console = Terminal()
    assert (console.is_jupyter, console.is_terminal, console.width) == (False, False, NOTEBOOK_WIDTH)
    with progress(console, "reading", 2) as advance:
        advance(2)
    console.print("a warning", style="yellow")
    assert sys.stdout.getvalue() == "\x1b[33ma warning\x1b[0m\n"


def test_training_and_what_follows_run_beside_the_loop(notebook, recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rich.jupyter.display", lambda *_: pytest.fail("a block of HTML"))
    run = in_a_cell(lambda: boresight.train(recipe, run="run"))
    assert "held-out evaluation" in capsys.readouterr().out
    shutil.copytree("run", "again")
    for value in (
        run,
        in_a_cell(lambda: boresight.check(recipe)),
        in_a_cell(lambda: boresight.explain("run")),
        in_a_cell(lambda: boresight.compare("run", "again", out=tmp_path / "both.html")),
    ):
        assert shown(value) == str(value) and "<pre" in value._repr_html_()
        assert "RunData(" not in shown(value)
        assert max(map(len, shown(value).split("\n"))) <= NOTEBOOK_WIDTH


def test_judges_and_synthesis_run_beside_the_loop(notebook, tmp_path, monkeypatch):
    monkeypatch.setattr("rich.jupyter.display", lambda *_: pytest.fail("a block of HTML"))
    with FakeServer(answer=answer_or_judge) as server:
        settings = evaluation(server, tmp_path)
        found = in_a_cell(lambda: boresight.evaluate(settings, run=tmp_path / "evaluation"))
    assert found.pairs[0].rate.n == 6
    with FakeServer(answer=answer_and_judge) as server:
        settings = synthesis(server, write_prompts(tmp_path / "prompts.jsonl", 4))
        made = in_a_cell(lambda: boresight.synthesize(settings, run=tmp_path / "made"))
    assert shown(made) == f"{made.pairs} pairs in {made.file}; {made.card} describes them."


@pytest.mark.parametrize("kind", [UserError, Interrupted])
def test_an_error_is_its_sentence(kind):
    assert kind("no such file.")._render_traceback_() == [f"{kind.__name__}: no such file."]


def test_wrong_data_are_a_sentence_whatever_the_parser_raised(tmp_path):
    (tmp_path / "rows.json").write_text('[{"prompt": "a"}, {"prompt": ')
    with pytest.raises(UserError) as failed:
        read(tmp_path / "rows.json")
    assert isinstance(failed.value.__cause__, json.JSONDecodeError)
    (sentence,) = failed.value._render_traceback_()
    assert "rows.json" in sentence and "JSON" in sentence


def test_an_error_in_code_of_the_user_keeps_its_traceback(tmp_path, monkeypatch):
    """IPython prints its own where this one fails."""
    (tmp_path / "rewards_that_fail.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="division by zero") as failed:
        import_user_module("rewards_that_fail", "reward")
    with pytest.raises(NotImplementedError):
        failed.value._render_traceback_()


def test_bars_of_other_libraries_do_not_warn_that_they_are_missing():
    code = "import boresight, warnings; warnings.warn('IProgress not found. Please update jupyter.')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr == b""
