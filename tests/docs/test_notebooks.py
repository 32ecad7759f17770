"""The notebooks: two run in a kernel, on tiny models; that for a hosted GPU is parsed with its recipes.

A cell that is put before the others makes recipes small (workplace.py). What follows are the committed cells.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

import boresight
from boresight import api
from boresight.config.recipe import Recipe
from tests.docs.snippets import ROOT
from tests.docs.test_snippets import parse
from tests.docs.workplace import furnish

NOTEBOOKS = ROOT / "examples" / "notebooks"
ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
WIDTH = 110
"""Columns of what a cell shows."""
SMALL = """
from pathlib import Path
from tests.docs.workplace import standing_in
small = standing_in(Path.cwd())
small.__enter__()
"""


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def sources(path: Path) -> list[str]:
    """The code of a notebook, cell by cell."""
    return [cell.source for cell in read(path).cells if cell.cell_type == "code"]


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run a notebook in `folder`, on tiny models, and return the output of each code cell as text.

    A cell that raises fails the test. Neither settings nor kernels of the user's own Jupyter are read.
    """
    for variable in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(folder / "jupyter"))
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    notebook = read(NOTEBOOKS / name)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SMALL))
    client = NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return [text_of(cell) for cell in notebook.cells[1:] if cell.cell_type == "code"]


def text_of(cell: nbformat.NotebookNode) -> str:
    """What a cell shows: its stream, and the plain text of values."""
    parts = [out.text if out.output_type == "stream" else out.data["text/plain"] for out in cell.outputs]
    return "".join(parts)


def values(name: str, outputs: list[str]) -> dict[str, str]:
    """Output of each cell by its last line."""
    return {
        source.splitlines()[-1]: text for source, text in zip(sources(NOTEBOOKS / name), outputs, strict=True)
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    furnish(tmp_path)
    return tmp_path


def test_first_run(folder, monkeypatch):
    outputs = run("first_run.ipynb", folder, monkeypatch)
    joined = "\n".join(outputs)
    assert "No malformed rows." in joined, "the data were checked"
    assert "\x1b[32mscored" in joined, "a row was shown with its scored tokens in green"
    assert "\x1b[2K" not in joined and "␛" not in joined, "no progress bar was drawn"
    assert "sum of learning rates" in joined and "exported: my-model" in joined
    curve = next(
        text
        for source, text in zip(sources(NOTEBOOKS / "first_run.ipynb"), outputs, strict=True)
        if "run.series" in source
    )
    assert len(re.findall(r"^ +\d+ +-?\d+\.\d\d nats", curve, re.M)) >= 2, "before and after training"
    assert (folder / "runs/first/report.html").is_file() and (folder / "my-model/config.json").is_file()
    assert (folder / "compare.html").is_file()
    shown = values("first_run.ipynb", outputs)
    compared = "boresight.compare(run.folder, other.folder)"
    for last in ("run", "boresight.explain(run.folder)", compared):
        lines = shown[last].splitlines()
        assert lines and max(map(len, lines)) <= WIDTH, last
    assert "first-beta-0.5 against first: paired differences" in shown[compared]


def test_own_reward(folder, monkeypatch):
    """The first try pays for four of nine ways to cheat, the reward for none, and it trained the run."""
    outputs = run("own_reward.ipynb", folder, monkeypatch)
    joined = "\n".join(outputs)
    assert re.search(r"first_try:solved contradicts 4 of 9 scored", joined)
    assert re.search(r"my_reward:solved contradicts 0 of 9 scored", joined)
    found = boresight.report(folder / "runs/own-reward/rloo")
    assert [reward["function"] for reward in found.config["reward"]] == [
        "my_reward:solved",
        "countdown_correct",
    ]
    assert found.page.is_file() and found.samples


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_a_notebook_is_valid_and_was_committed_without_outputs(path):
    nbformat.validate(read(path))
    for cell in read(path).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


class Shell:
    """What `!command` and `%magic` become; commands are parsed and extras looked up, nothing is run."""

    def __init__(self) -> None:
        self.verbs: list[str] = []

    def system(self, line: str) -> None:
        program, *words = shlex.split(line)
        assert program == "{BORESIGHT}", line
        parse(words)
        self.verbs.append(words[0])

    def run_line_magic(self, name: str, line: str) -> None:
        assert name == "pip" and line.startswith("install ") and "{WHEEL}" in line
        (extras,) = re.findall(r"\[([\w,-]+)\]", line)
        assert not set(extras.split(",")) - EXTRAS.keys()


def test_the_notebook_for_a_hosted_gpu_parses_with_its_recipes_and_commands(tmp_path, monkeypatch):
    """Its cells run with verbs that parse their recipe and stop, so that tables in loops are covered."""
    recipes: list[Recipe] = []

    def parsed(recipe, *, run="runs/x", rows=None, **sections):
        recipes.append(api._parsed(Recipe, recipe, sections))
        return SimpleNamespace(folder=Path(run))

    monkeypatch.chdir(tmp_path)
    Path("boresight-0.0-py3-none-any.whl").touch()
    for verb in ("train", "check"):
        monkeypatch.setattr(boresight, verb, parsed)
    monkeypatch.setattr(boresight, "explain", lambda folder: None)
    shell = Shell()
    names = {"__name__": "notebook", "get_ipython": lambda: shell}
    for source in sources(NOTEBOOKS / "hosted_gpu.ipynb"):
        exec(compile(TransformerManager().transform_cell(source), "hosted_gpu.ipynb", "exec"), names)
    assert shell.verbs == ["doctor", "export"]
    assert [recipe.train.steps for recipe in recipes[:3]] == [300, 2, 300]
    assert [recipe.model.lora and recipe.model.lora.base for recipe in recipes] == [
        *["auto"] * 3,
        None,
        "auto",
        "nf4",
    ]
    assert {recipe.model.dtype for recipe in recipes} == {"bfloat16"}
