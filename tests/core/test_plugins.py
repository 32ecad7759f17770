"""Modules of the user: written or edited while the process runs, as cells of a notebook do."""

from __future__ import annotations

import sys

import pytest

import boresight
from boresight.core.errors import UserError
from boresight.core.plugins import forget_changed_modules, import_user_module


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("edited", "fresh", "graded"):
        sys.modules.pop(name, None)


def test_an_edited_module_is_read_again_when_a_verb_starts_and_not_before(here):
    (here / "edited.py").write_text("VALUE = 1\n")
    first = import_user_module("edited", "x")
    (here / "edited.py").write_text("VALUE = 1 + 1\n")
    assert import_user_module("edited", "x") is first
    forget_changed_modules()
    second = import_user_module("edited", "x")
    assert (first.VALUE, second.VALUE) == (1, 2)
    forget_changed_modules()
    assert import_user_module("edited", "x") is second


def test_a_module_that_appears_after_a_failed_import_is_found(here):
    with pytest.raises(UserError, match="cannot import 'fresh'"):
        import_user_module("fresh", "x")
    (here / "fresh.py").write_text("VALUE = 3\n")
    assert import_user_module("fresh", "x").VALUE == 3


def test_a_deleted_module_is_an_error_in_the_next_verb(here):
    (here / "edited.py").write_text("VALUE = 1\n")
    import_user_module("edited", "x")
    (here / "edited.py").unlink()
    forget_changed_modules()
    with pytest.raises(UserError, match="cannot import 'edited'"):
        import_user_module("edited", "x")


def test_modules_of_the_package_are_never_forgotten():
    module = import_user_module("boresight.tasks.countdown.rewards", "x")
    forget_changed_modules()
    assert import_user_module("boresight.tasks.countdown.rewards", "x") is module


def test_an_edited_reward_is_what_the_next_evaluation_measures(here):
    (here / "answers.jsonl").write_text('{"prompt": "Say red.", "completions": ["red"]}\n')
    (here / "prompts.jsonl").write_text('{"prompt": "Say red."}\n')
    recipe = {
        "prompts": "prompts.jsonl",
        "systems": {"one": {"answers": "answers.jsonl"}},
        "reward": [{"function": "graded:reward"}],
        "samples": 1,
        "k": [1],
    }
    values = []
    for value in (0.25, 0.625):
        (here / "graded.py").write_text(f"def reward(prompts, completions, rows):\n    return [{value}]\n")
        found = boresight.evaluate(recipe, run=here / f"run-{value}", quiet=True)
        values += [graded.reward for graded in found.results["one"].all]
    assert values == [0.25, 0.625]
