"""The examples run, on a tiny model in place of a real one; the puzzles' model is tiny as it is."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

import boresight
from tests.docs.snippets import ROOT
from tests.docs.workplace import furnish, standing_in

EXAMPLES = ROOT / "examples"
NOTEBOOKS = Path(__file__).with_name("test_notebooks.py")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Furnished once, since examples read what earlier ones wrote."""
    folder = tmp_path_factory.mktemp("examples")
    furnish(folder)
    with standing_in(folder):
        sys.path.insert(0, str(EXAMPLES))
        known = set(sys.modules)
        yield folder
        for name in set(sys.modules) - known:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(EXAMPLES)):
                del sys.modules[name]


def example(name: str, **changed: object):
    """An example's module, with some of its settings changed."""
    module = importlib.import_module(name)
    for key, value in changed.items():
        assert hasattr(module, key), key
        setattr(module, key, value)
    return module


def test_dpo(here, capsys):
    example("dpo", CHANGES={}).main("runs/example-dpo")
    said = capsys.readouterr().out
    assert "accuracy: " in said and "held-out margin" in said and "after:" in said


def test_custom_loss(here, capsys):
    example("custom_loss").main("runs/example-capped")
    assert boresight.report("runs/example-capped").config["method"]["name"] == "losses.capped"
    assert re.search(r"\d+% of the pairs had reached 5.0 nats", capsys.readouterr().out)


def test_two_runs(here, capsys):
    """The demo's prompts carry checks, so the two runs of the tests above can be told apart, or not."""
    example("two_runs").main("runs/example-dpo", "runs/example-capped")
    assert "runs/example-capped minus runs/example-dpo" in capsys.readouterr().out


def test_custom_reward(here, capsys):
    example("custom_reward").main("runs/example-rewards")
    logged = boresight.report("runs/example-rewards/rloo").config["reward"]
    assert [r["function"] for r in logged] == ["countdown_correct", "custom_reward:brief"]


def test_reward_of_the_example_counts_words_and_judges_no_silence(here):
    """Fifteen words: 1 - 15/48. Nothing said: missing."""
    brief = example("custom_reward").brief
    assert brief([None] * 2, ["<answer> 3 * 7 + 8 </answer> " * 2 + "!", " "], [{}] * 2) == [
        pytest.approx(1 - 15 / 48),
        None,
    ]


def test_every_example_is_in_the_table_and_has_a_test():
    table = (EXAMPLES / "README.md").read_text()
    tests = Path(__file__).read_text()
    for file in EXAMPLES.glob("*.py"):
        assert f"`{file.name}`" in table and f'example("{file.stem}"' in tests
    for file in (EXAMPLES / "notebooks").glob("*.ipynb"):
        assert f"`notebooks/{file.name}`" in table and file.name in NOTEBOOKS.read_text()
