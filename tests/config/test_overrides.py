"""Overrides of the command line: an error about one names the command line, and none replaces another."""

import pytest
import yaml

from boresight.config.recipe import Recipe
from boresight.config.recipe_files import recipe_path
from boresight.conversion.trl_file import with_words
from boresight.core.errors import UserError
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.experiments.study.overrides import load_plan
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.synthesis.recipe import SynthesisRecipe

TWICE = "command line: optim.lr is given twice; keep one of them."


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("kind", "name", "override", "sentence"),
    [
        (Recipe, "dpo", "optm.lr=1e-4", "unknown key optm; did you mean 'optim'?"),
        (Recipe, "dpo", "model.lroa.r=4", "unknown key model.lroa; did you mean 'model.lora'?"),
        (Recipe, "dpo", "optim.lr.x=1", "optim.lr.x: lr is a value, not a section."),
        (
            Recipe,
            "dpo",
            "optim.lr =1e-4",
            "'optim.lr =1e-4' has a space beside its key; write optim.lr=1e-4.",
        ),
        (
            EvaluationRecipe,
            "eval-reward",
            "rewrd.function=length",
            "unknown key rewrd; did you mean 'reward'?",
        ),
        (
            EvaluationRecipe,
            "eval-reward",
            "judge.name=llm",
            "judge and reward are two evaluations; give one of the sections.",
        ),
        (
            SynthesisRecipe,
            "synth-demo",
            "method.beta=0.1",
            "unknown key method; known: answers, budget, endpoints, judge, pairs, prompts, seed, "
            "stuck_after.",
        ),
        (SweepRecipe, "sweeps/dpo", "serch=grid", "unknown key serch; did you mean 'search'?"),
        (SweepRecipe, "sweeps/dpo", "optm.lr=1e-4", "unknown key optm; did you mean 'optim'?"),
        (SweepRecipe, "sweeps/dpo", "optim.lrr=1e-4", "unknown key optim.lrr; did you mean 'optim.lr'?"),
        (SweepRecipe, "sweeps/dpo", "lr=1e-4", "unknown key lr; did you mean 'optim.lr'?"),
        (SweepRecipe, "sweeps/dpo", "beta=0.1", "unknown key beta; here it is called method.beta."),
    ],
)
def test_an_error_of_an_override_names_the_command_line(kind, name, override, sentence):
    with pytest.raises(UserError) as found:
        kind.load(name, [override])
    assert str(found.value) == f"command line: {sentence}"


def test_an_error_of_the_file_names_the_file(tmp_path):
    """An override of the same unknown section does not take the blame for what the file has."""
    raw = {"method": "dpo", "data": {"train": "x"}, "optim": {"lr": 1e-5}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(raw | {"optm": {"lr": 1}}))
    with pytest.raises(UserError, match=r"^r\.yaml: unknown key optm"):
        Recipe.load("r.yaml", ["optm.eps=1"])
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({name: raw[name] for name in ("data", "optim")}))
    with pytest.raises(UserError, match=r"^r\.yaml: method\.name is missing"):
        Recipe.load("r.yaml", ["method.beta=0.1"])


@pytest.mark.parametrize("override", ["titel=x", "arms.dpo-tuned.optm.lr=1", "arms.dpo-tund.seeds=[1]"])
def test_an_error_of_a_change_to_a_plan_names_the_command_line(override):
    with pytest.raises(UserError, match=r"^command line: .*did you mean"):
        load_plan(recipe_path("study/plan-cpu"), [override])


@pytest.mark.parametrize("kind", [Recipe, SweepRecipe])
def test_a_setting_is_given_once(kind):
    name = "dpo" if kind is Recipe else "sweeps/dpo"
    with pytest.raises(UserError) as found:
        kind.load(name, ["optim.lr=1e-4", "train.seed=1", "optim.lr=2e-4"])
    assert str(found.value) == TWICE


def test_both_names_of_a_renamed_setting_are_one():
    with pytest.raises(UserError, match=r"^command line: method\.centering is given twice"):
        Recipe.load("reward", ["method.centring=0.1", "method.centering=0.1"])


def test_a_section_after_one_of_its_settings_is_refused_and_before_it_is_completed():
    with pytest.raises(UserError) as found:
        Recipe.load("dpo", ["model.lora.r=4", "model.lora={alpha: 8}"])
    assert str(found.value) == "command line: model.lora replaces model.lora.r before it; keep one of them."
    lora = Recipe.load("dpo", ["model.lora={alpha: 8}", "model.lora.r=4"]).model.lora
    assert (lora.alpha, lora.r) == (8, 4)


def test_a_change_to_a_plan_is_given_once():
    with pytest.raises(UserError, match=r"^command line: arms\.dpo-tuned\.seeds is given twice"):
        load_plan(recipe_path("study/plan-cpu"), ["arms.dpo-tuned.seeds=[0]", "arms.dpo-tuned.seeds=[1]"])


def test_an_option_of_trl_is_given_once():
    with pytest.raises(UserError, match=r"^command line: beta is given twice; keep one of them\.$"):
        with_words({"beta": 0.5}, ["beta=0.1", "beta=0.2"])
    assert with_words({"beta": 0.5}, ["beta=0.1"]) == {"beta": 0.1}
