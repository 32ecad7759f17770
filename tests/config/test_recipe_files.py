"""Recipes by path and by name: which file is read, from whatever folder, and what an error offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from boresight.cli import main
from boresight.config.recipe import Recipe
from boresight.config.recipe_files import FOLDER, recipe_from, recipe_names, recipe_path, recipe_stem
from boresight.core.errors import UserError
from boresight.data.demo import FILES, data_path
from boresight.data.reading.load import read
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.experiments.study.plan import StudyPlan
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.runs.folder import default_folder
from boresight.synthesis.recipe import SynthesisRecipe

ROOT = Path(__file__).parents[2]
VERBS = {
    "train": Recipe,
    "evaluate": EvaluationRecipe,
    "sweep": SweepRecipe,
    "synthesize": SynthesisRecipe,
    "study": StudyPlan,
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in a folder that has nothing of the repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_recipe_in_the_package_is_of_one_kind_and_loads_by_its_name():
    found = [(name, kind) for kind in VERBS.values() for name in recipe_names(kind)]
    names = [name for name, _ in found]
    assert sorted(names) == sorted(set(names))
    assert {FOLDER / f"{name}.yaml" for name in names} == set(FOLDER.rglob("*.yaml"))
    for name, kind in found:
        kind.load(name)


def test_a_name_is_a_file_of_the_user_first(elsewhere):
    assert recipe_path("dpo") == FOLDER / "dpo.yaml"
    (elsewhere / "dpo").mkdir()  # a folder is no recipe
    assert recipe_path("dpo") == FOLDER / "dpo.yaml"
    (elsewhere / "dpo.yaml").touch()
    assert recipe_path("dpo") == recipe_path("dpo.yaml") == Path("dpo.yaml")
    (elsewhere / "sft").touch()
    assert recipe_path("sft") == Path("sft")
    assert recipe_path(elsewhere / "dpo") == elsewhere / "dpo.yaml"


def test_folders_of_recipes_whose_names_differ_after_a_dot_differ():
    paths = ["synth-v1.1", "synth-v1.2", "mine/synth-v1.1.yaml", "dpo.yml", "dpo.json", "dpo"]
    stems = ["synth-v1.1", "synth-v1.2", "synth-v1.1", "dpo", "dpo", "dpo"]
    assert [recipe_stem(Path(path)) for path in paths] == stems
    assert default_folder(Path("synth-v1.1")).name.startswith("synth-v1.1-")


@pytest.mark.parametrize("name", ["../config/x", f"{FOLDER}/none", "", ".", "x\0y", "n" * 300, "study"])
def test_what_is_no_name_stays_a_path(name):
    assert recipe_path(name) == Path(name)


@pytest.mark.parametrize(
    ("verb", "name", "says"),
    [
        ("train", "dop", "dop: there is no such recipe; did you mean 'dpo'?"),
        ("train", "recipes/ipo.yaml", "recipes/ipo.yaml: there is no such recipe; did you mean 'ipo'?"),
        ("train", "countdown-tiny/rlo", "did you mean 'countdown-tiny/rloo'?"),
        ("train", "mine", "or one of these names: constraints/grpo, "),
        ("evaluate", "mine", "or one of these names: eval-countdown, eval-reward, eval-tasks, eval-winrate"),
        ("sweep", "mine", "or one of these names: sweeps/countdown-tiny, "),
        ("synthesize", "mine", ", synth-demo, synth-onpolicy"),
    ],
)
def test_an_unknown_name_is_answered_with_those_of_the_verb(verb, name, says, capsys):
    with pytest.raises(SystemExit) as left:
        main.main([verb, name])
    assert left.value.code == 2
    assert says in capsys.readouterr().err


def test_a_misspelt_file_is_answered_with_the_file_beside_it(elsewhere):
    (elsewhere / "chat-pairs.yaml").touch()
    with pytest.raises(UserError, match=r"did you mean 'chat-pairs\.yaml'"):
        Recipe.load("chat-pair.yaml")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "study"])
def test_help_lists_every_name(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main.main([verb, "--help"])
    printed = capsys.readouterr().out
    for name in recipe_names(VERBS[verb]):
        folder, _, last = name.rpartition("/")
        assert last in printed and folder in printed, name


def test_sweeps_and_plans_name_recipes_by_path_or_by_name(elsewhere):
    assert recipe_from(FOLDER / "sweeps", "../study/dpo-20k.yaml").samefile(FOLDER / "study/dpo-20k.yaml")
    (elsewhere / "mine.yaml").write_text("recipe: dpo\nspace: {method.beta: [0.1, 0.2]}\nmetric: accuracy\n")
    assert SweepRecipe.load("mine").base() == Recipe.load("dpo")
    (elsewhere / "dpo.yaml").write_text((FOLDER / "ipo.yaml").read_text())
    with pytest.raises(UserError, match="beta"):  # now it is the file beside the sweep, which has no beta
        SweepRecipe.load("mine")


def test_data_of_the_demo_are_read_by_name():
    for name, file in FILES.items():
        assert read(f"demo:{name}", limit=2).examples == read(file, limit=2).examples
    assert data_path("demo/pairs.jsonl") == Path("demo/pairs.jsonl")
    with pytest.raises(
        UserError, match=r"demo:pair: the demo has no data of that name; did you mean 'pairs'"
    ):
        read("demo:pair")
