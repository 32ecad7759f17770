"""A folder belongs to one recipe: it is begun, continued, or refused with the difference."""

import os

import pytest
import yaml

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.runs.folder import RunFolder
from boresight.runs.training_folder import TrainingFolder

RECIPE = {"systems": {"a": {"model": "x"}}, "limit": None, "judge": {"name": "checks", "check": "c"}}


def folder(path):
    return RunFolder(path, noun="evaluation", section="systems")


def test_a_folder_is_begun_and_continued_by_one_recipe(tmp_path):
    folder(tmp_path / "new/out").open(RECIPE)
    again = folder(tmp_path / "new/out")
    assert again.recipe() == RECIPE and {p.name for p in again.path.iterdir()} == {
        "config.yaml",
        "environment.json",
    }
    again.open(RECIPE)
    other = RECIPE | {"limit": 3, "judge": {"name": "checks", "check": "x" * 80}}
    message = r"out: cannot resume the evaluation there, the recipe differs in judge\.check, limit \(null"
    with pytest.raises(UserError, match=message):
        again.open(other)


@pytest.mark.parametrize("text", ["", "systems: {a: [", "\x00"])
def test_a_torn_recipe_is_one_of_this_kind_and_is_named(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    assert folder(tmp_path).recipe() == {}
    with pytest.raises(UserError, match=r"config\.yaml: holds no recipe; put it back"):
        folder(tmp_path).open(RECIPE)


@pytest.mark.parametrize("raw", [{"method": {"name": "sft"}}, ["systems"], "systems"])
def test_a_recipe_of_another_kind_is_foreign(tmp_path, raw):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(raw))
    assert folder(tmp_path).recipe() is None
    with pytest.raises(
        UserError, match=r"holds no evaluation, its config\.yaml is of something else; give another"
    ):
        folder(tmp_path).open(RECIPE)


def test_hidden_files_are_nobody_s(tmp_path):
    (tmp_path / ".config.yaml.123.part").touch()
    folder(tmp_path).open(RECIPE)
    (tmp_path / "a").touch()
    with pytest.raises(UserError, match="exists but holds no evaluation"):
        folder(tmp_path / "a").refuse_foreign()


def test_a_place_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    with pytest.raises(UserError, match=f"no permission to write to {tmp_path}; change it"):
        folder(tmp_path / "new/out").refuse_foreign()


def test_a_link_to_nowhere_is_refused_before_anything_is_computed(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="exists but holds no evaluation"):
        folder(tmp_path / "out").refuse_foreign()


def test_who_begins_second_is_refused(tmp_path):
    folder(tmp_path).begin(RECIPE)
    with pytest.raises(UserError, match="another evaluation has begun there"):
        folder(tmp_path).begin(RECIPE)


def test_one_process_trains_in_a_folder(tmp_path):
    """Two files opened in one process exclude each other as those of two processes do."""
    with TrainingFolder(tmp_path) as first:
        first.lock()
        first.lock()
        with (
            TrainingFolder(tmp_path) as other,
            pytest.raises(UserError, match="another process is training here"),
        ):
            other.lock()
        with TrainingFolder(tmp_path, claimed=True) as other:
            other.lock()
    with TrainingFolder(tmp_path) as again:
        again.lock()


def test_a_run_of_an_older_version_had_the_defaults_of_newer_settings(tmp_path):
    """`model.allow_weights` is newer than the run; resumed without it, nothing differs."""
    raw = {"method": {"name": "sft"}, "data": {"train": "rows.jsonl"}, "optim": {"lr": 1e-3}}
    recipe = Recipe.parse(raw)
    old = recipe.to_dict()
    del old["model"]["allow_weights"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    TrainingFolder(tmp_path).refuse_other(recipe.to_dict())
    allowing = Recipe.parse(raw | {"model": {"allow_weights": ["vision.*"]}})
    with pytest.raises(UserError, match=r"the recipe differs in model\.allow_weights"):
        TrainingFolder(tmp_path).refuse_other(allowing.to_dict())
