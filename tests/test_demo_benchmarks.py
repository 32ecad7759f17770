"""The command by which benchmarks train the demo: its settings exist, and nothing else is measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def demo_run(monkeypatch):
    """The module, as the programs of the folder import it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("demo_run", None)
    import demo_run

    yield demo_run
    sys.modules.pop("demo_run", None)


def recipe_of(command: list[str]) -> Recipe:
    """The recipe that a command trains by."""
    assert command[1:4] == ["-m", "boresight", "train"]
    return Recipe.load(command[4], command[5 : command.index("--run")])


def test_the_demo_without_evaluations_and_with_changes(demo_run, tmp_path):
    command = demo_run.demo_command(
        tmp_path / "run", {"train.steps": 7, "train.seed": 3, "train.guard": "null"}
    )
    assert command[-2:] == ["--run", str(tmp_path / "run")]
    recipe, demo = recipe_of(command), Recipe.load("demo")
    assert (recipe.train.steps, recipe.train.seed, recipe.train.guard) == (7, 3, None)
    assert (recipe.train.eval_every, recipe.data.eval, recipe.data.eval_rows) == (None, None, 0)
    assert (recipe.evaluate.samples, recipe.check.probes) == (0, 0)
    assert (recipe.method, recipe.optim) == (demo.method, demo.optim)


def test_a_change_replaces_what_the_command_leaves_out(demo_run, tmp_path):
    assert recipe_of(demo_run.demo_command(tmp_path, {"data.eval_rows": 5})).data.eval_rows == 5
    with pytest.raises(UserError, match="unknown key"):
        recipe_of(demo_run.demo_command(tmp_path, {"train.stepz": 5}))


def test_a_process_that_fails_ends_the_benchmark_with_its_output(demo_run, tmp_path):
    program = (
        "import os; assert os.environ['SIZE'] == '1', 'it has no size'; print(os.environ['XDG_CACHE_HOME'])"
    )
    assert demo_run.timed([sys.executable, "-c", program], tmp_path, SIZE="1") > 0
    with pytest.raises(SystemExit, match="it has no size"):
        demo_run.timed([sys.executable, "-c", program], tmp_path, SIZE="2")
